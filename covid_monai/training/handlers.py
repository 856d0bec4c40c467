"""Ignite handlers that MONAI does not have.

A handler gets the engine that it listens to: MONAI's `SupervisedTrainer`, which adds attributes to Ignite's
`Engine` and `State`.
"""

import logging
import random
import time
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.engines.utils import IterationEvents
from torch import nn

from covid_monai.networks import backbone_parameters
from covid_monai.training.sampling import EpochSampler

logger = logging.getLogger("covid_monai.training")


class SeedEpoch:
    """Set every source of randomness from (seed, epoch) when an epoch starts.

    Epoch 7 of a resumed run then draws the same order, augmentation and noise as epoch 7 of a run that
    was never interrupted, without any generator's state in the checkpoint.

    Args:
        seed: Seed of the run.
        sampler: Sampler that gets the number of the epoch.
        rank: Number of this process; each process draws its own augmentation.
    """

    def __init__(self, seed: int, *, sampler: EpochSampler, rank: int = 0) -> None:
        self.seed = seed
        self.sampler = sampler
        self.rank = rank

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Seed the epoch that has started."""
        epoch = engine.state.epoch
        seed = int(np.random.SeedSequence([self.seed, epoch, self.rank]).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)  # libraries below us draw from the global generator
        torch.manual_seed(seed)
        self.sampler.set_epoch(epoch)


class ClipGradients:
    """Clip the norm of the gradients before each step.

    Args:
        network: Network that has the gradients.
        max_norm: Largest L2 norm over all gradients; 0 or less switches clipping off.
    """

    def __init__(self, network: nn.Module, max_norm: float) -> None:
        self.network = network
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        if self.max_norm > 0:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Clip the gradients of the backward pass."""
        if engine.amp and engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)


class FreezeBackbone:
    """Train the head alone for the first epochs, then everything.

    Args:
        network: Network of `covid_monai.networks.build_network`.
        epochs: Number of epochs in which only the head is trained.
    """

    def __init__(self, network: nn.Module, epochs: int) -> None:
        self.network = network
        self.epochs = epochs

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        if self.epochs > 0:
            engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Freeze or release the backbone by the epoch alone, so that a resumed run does the same."""
        for parameter in backbone_parameters(self.network):
            parameter.requires_grad_(engine.state.epoch > self.epochs)


class EarlyStop:
    """Stop when the key metric has not improved for some epochs.

    It keeps no count of its own. The evaluator's state has the epoch of the best metric, and `RunFolder`
    restores it, so that a resumed run stops in the same epoch as an uninterrupted one.

    Args:
        evaluator: Evaluator whose state has the best key metric.
        patience: Number of epochs without a better metric before stopping; 0 or less never stops.
    """

    def __init__(self, evaluator: Any, patience: int) -> None:
        self.evaluator = evaluator
        self.patience = patience

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
        engine.add_event_handler(Events.EPOCH_STARTED, self._reset)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._start_waiting)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._stop_waiting)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write_metrics)

    def _reset(self) -> None:
        self._epoch_start = self._wait_start = time.perf_counter()
        self._waited, self._images = 0.0, 0

    def _start_waiting(self) -> None:
        self._wait_start = time.perf_counter()

    def _stop_waiting(self) -> None:
        self._waited += time.perf_counter() - self._wait_start

    def _count(self, engine: Any) -> None:
        self._images += len(engine.state.batch["label"])

    def _write_metrics(self, engine: Any) -> None:
        if engine.state.device.type == "cuda":
            torch.cuda.synchronize(engine.state.device)
        elapsed = time.perf_counter() - self._epoch_start
        engine.state.metrics["images_per_second"] = self._images / elapsed
        engine.state.metrics["data_wait_fraction"] = self._waited / elapsed


class EpochReport:
    """Show a progress bar with the loss, and log one line per epoch with the most important metrics.

    Args:
        evaluator: Evaluator whose metrics are logged.
        rank: Number of this process; only rank 0 prints.
    """

    def __init__(self, evaluator: Any, rank: int = 0) -> None:
        self.evaluator = evaluator
        self.rank = rank

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; list this handler after the validation handler."""
        if self.rank != 0:
            return
        bar = ProgressBar(persist=False, desc="Epoch")
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
        names = {"auroc": "AUROC", "balanced_accuracy": "balanced accuracy", "loss": "loss"}
        values = [
            f"{text} {state.metrics[name]:.3f}" for name, text in names.items() if name in state.metrics
        ]
        return f"validation: {', '.join(values)}{' (best)' if state.best_metric_epoch == epoch else ''}  "
