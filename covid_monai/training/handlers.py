"""Ignite handlers that neither Ignite nor MONAI has.

A handler gets the engine that it listens to: MONAI's `SupervisedTrainer`, which adds attributes to Ignite's
`Engine` and `State`.
"""

import logging
import math
import random
import time
from dataclasses import dataclass
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar, Timer
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from covid_monai.networks.build import backbone_parameters
from covid_monai.training.sampling import EpochSampler

logger = logging.getLogger("covid_monai.training")
_SCALED_STEPS = 20  # steps in a row that the gradient scaler may skip: it halves its factor at each


@dataclass(eq=False)
class SeedEpoch:
    """Set every source of randomness from (seed, epoch, process) when an epoch starts.

    Epoch 7 of a resumed run then draws the same order, augmentation and noise as epoch 7 of a run that
    was never interrupted, without any generator's state in the checkpoint.

    Args:
        seed: Seed of the run.
        sampler: Sampler that gets the number of the epoch.
    """

    seed: int
    sampler: EpochSampler

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Seed the epoch that has started."""
        epoch = engine.state.epoch
        seed = int(np.random.SeedSequence([self.seed, epoch, idist.get_rank()]).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)  # libraries below us draw from the global generator
        torch.manual_seed(seed)
        self.sampler.set_epoch(epoch)


@dataclass(eq=False)
class ClipGradients:
    """Clip the norm of the gradients before each step.

    Args:
        network: Network that has the gradients.
        max_norm: Largest L2 norm over all gradients; 0 or less switches clipping off.
    """

    network: nn.Module
    max_norm: float

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        if self.max_norm > 0:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Clip the gradients of the backward pass."""
        if engine.amp and engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)


@dataclass(eq=False)
class FreezeBackbone:
    """Train the head alone for the first epochs, then everything.

    Args:
        network: Network of `covid_monai.networks.build_network`.
        epochs: Number of epochs in which only the head is trained.
    """

    network: nn.Module
    epochs: int

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        if self.epochs > 0:
            engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Freeze or release the backbone by the epoch alone, so that a resumed run does the same."""
        for parameter in backbone_parameters(self.network):
            parameter.requires_grad_(engine.state.epoch > self.epochs)


class AverageWeights:
    """Let one network follow the weights of another with an exponential moving average.

    The last steps of a training jump about the optimum, and images from elsewhere than the training images
    feel it most. The average does not jump. It starts as a copy, and its window is a tenth of the steps at
    most, so that short trainings do not average in the random start. Batch-norm statistics are averaged like
    weights; whole numbers are copied.

    Args:
        network: Trained network, without any parallel wrapper.
        average: Copy of it that holds the average.
        decay: Share of the average that stays at each step, in [0, 1); 0 switches the averaging off.

    Reference: Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992.
    """

    def __init__(self, network: nn.Module, average: nn.Module, *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay is {decay}. Choose a number in [0, 1); 0 switches the average off.")
        self.decay = decay
        # Collected once: at every step it would take three times as long as the averaging.
        pairs = list(zip(_tensors(average), _tensors(network), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._averages, self._current = [average for average, _ in floats], [value for _, value in floats]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        if self.decay > 0:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Follow the step that the trainer has completed."""
        steps = engine.state.iteration - 1
        decay = min(self.decay, (1 + steps) / (10 + steps)) if steps > 0 else 0.0
        get_ema_multi_avg_fn(decay)(self._averages, self._current, steps)
        for average, value in self._copied:
            average.copy_(value)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]


@dataclass(eq=False)
class StopWhenDiverged:
    """End a training whose loss is no longer a number, before its weights are kept.

    With fp16 the gradient scaler skips a step whose gradients overflow, so only a row of such steps counts.

    Args:
        evaluator: Evaluator whose state has the loss on the validation split and the best epoch.

    Raises:
        ValueError: The loss is infinite or not a number.
    """

    evaluator: Any

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; list this handler after the validation and before `RunFolder`."""
        self._in_a_row = 0
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._check_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._check_validation)

    def _check_step(self, engine: Any) -> None:
        finite = bool(torch.isfinite(engine.state.output["loss"]).all())
        self._in_a_row = 0 if finite else self._in_a_row + 1
        if self._in_a_row > (_SCALED_STEPS if engine.scaler else 0):
            self._stop(engine, "training")

    def _check_validation(self, engine: Any) -> None:
        if not math.isfinite(self.evaluator.state.metrics.get("loss", 0.0)):
            self._stop(engine, "validation")

    def _stop(self, engine: Any, split: str) -> None:
        epoch, best = engine.state.epoch, self.evaluator.state.best_metric_epoch
        kept = "No weights were kept."
        if 0 < best < epoch:
            kept = f"The weights of epoch {best}, the best so far, stay in models/model.pt."
        raise ValueError(
            f"The training has diverged: in epoch {epoch} the {split} loss is no longer a finite number. "
            f"{kept} Train again into another --output_dir with a smaller "
            "--learning_rate, or with --precision fp32."
        )


@dataclass(eq=False)
class EarlyStop:
    """Stop when the key metric has not improved for some epochs.

    Ignite's `EarlyStopping` counts calls. This handler compares the epoch with that of the best metric, which
    `RunFolder` restores: a resumed run stops in the same epoch as an uninterrupted one.

    Args:
        evaluator: Evaluator whose state has the best key metric.
        patience: Number of epochs without a better metric before stopping; 0 or less never stops.
    """

    evaluator: Any
    patience: int

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; list this handler after those that validate and restore."""
        if self.patience > 0:
            engine.add_event_handler(Events.STARTED | Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Stop after the epoch that just ended."""
        best_epoch = self.evaluator.state.best_metric_epoch
        if best_epoch > 0 and engine.state.epoch - best_epoch >= self.patience:
            logger.info("The validation has not improved for %d epochs. The training stops.", self.patience)
            engine.terminate()


class Throughput:
    """Measure images per second of training, and the share of the time that the training waits for data.

    After each epoch the trainer's metrics hold `images_per_second` (of this process) and
    `data_wait_fraction` in [0, 1].
    """

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        self._elapsed, self._waited = Timer(), Timer()
        self._elapsed.attach(engine, start=Events.EPOCH_STARTED)
        self._waited.attach(
            engine,
            start=Events.EPOCH_STARTED,
            pause=Events.GET_BATCH_COMPLETED,
            resume=Events.GET_BATCH_STARTED,
        )
        engine.add_event_handler(Events.EPOCH_STARTED, self._reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write_metrics)

    def _reset(self) -> None:
        self._images = 0

    def _count(self, engine: Any) -> None:
        self._images += len(engine.state.batch["label"])

    def _write_metrics(self, engine: Any) -> None:
        if engine.state.device.type == "cuda":
            torch.cuda.synchronize(engine.state.device)
        elapsed = self._elapsed.value()
        engine.state.metrics["images_per_second"] = self._images / elapsed
        engine.state.metrics["data_wait_fraction"] = self._waited.value() / elapsed


@dataclass(eq=False)
class EpochReport:
    """Show a progress bar with the loss on a terminal, and log a line per epoch with the main metrics.

    Only the first process prints.

    Args:
        evaluator: Evaluator whose metrics are logged.
    """

    evaluator: Any

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; list this handler after the validation handler."""
        if idist.get_rank() != 0:
            return
        bar = ProgressBar(persist=False, desc="Epoch", disable=None)  # none in a log file or a pipe
        bar.attach(engine, output_transform=lambda output: {"loss": output["loss"].detach().item()})
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._log_epoch)

    def _start(self, engine: Engine) -> None:
        self._start_time = time.perf_counter()
        self._first_epoch = engine.state.epoch

    def _log_epoch(self, engine: Any) -> None:
        state = engine.state
        seconds_per_epoch = (time.perf_counter() - self._start_time) / (state.epoch - self._first_epoch)
        logger.info(
            "Epoch %d/%d  loss %.3f  %s%.0f images/s  %.0f min left",
            *(state.epoch, state.max_epochs, state.metrics["loss"], self._describe_validation(state.epoch)),
            *(state.metrics["images_per_second"], seconds_per_epoch * (state.max_epochs - state.epoch) / 60),
        )

    def _describe_validation(self, epoch: int) -> str:
        state = self.evaluator.state
        if state.epoch != epoch:
            return ""
        names = {"auroc": "AUROC", "balanced_accuracy": "balanced accuracy", "dice": "Dice", "loss": "loss"}
        values = [
            f"{text} {state.metrics[name]:.3f}" for name, text in names.items() if name in state.metrics
        ]
        return f"validation: {', '.join(values)}{' (best)' if state.best_metric_epoch == epoch else ''}  "
