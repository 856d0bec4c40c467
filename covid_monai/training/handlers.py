"""Ignite handlers that MONAI does not bring: seeds by epoch, gradient clipping, freezing, throughput."""

import logging
import random
import time
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import nn

from covid_monai.networks import backbone_parameters
from covid_monai.training.sampling import EpochSampler

logger = logging.getLogger("covid_monai.training")


def use(handler: Any) -> Any:
    """The handler itself, for a config that lists a component which it names elsewhere."""
    return handler


class SeedEpoch:
    """Set every source of randomness from (seed, epoch) when an epoch starts.

    Epoch 7 of a resumed run then draws the same order, augmentation and noise as epoch 7 of a run that
    was never interrupted, without any generator's state in the checkpoint.

    Args:
        seed: The run's seed.
        sampler: Told the epoch.
        rank: Processes of one run draw different augmentation.
    """

    def __init__(self, seed: int, *, sampler: EpochSampler, rank: int = 0) -> None:
        self.seed = seed
        self.sampler = sampler
        self.rank = rank

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed the epoch that starts."""
        epoch = engine.state.epoch
        seed = int(np.random.SeedSequence([self.seed, epoch, self.rank]).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)  # libraries below us draw from the global generator
        torch.manual_seed(seed)
        self.sampler.set_epoch(epoch)


class ClipGradients:
    """Clip the norm of the gradients before each step.

    Args:
        network: Whose gradients.
        max_norm: Largest L2 norm over all of them; 0 or less switches clipping off.
    """

    def __init__(self, network: nn.Module, max_norm: float) -> None:
        self.network = network
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        if self.max_norm > 0:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Clip what the backward pass has left."""
        if engine.amp and engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)


class FreezeBackbone:
    """Train the head alone for the first epochs, then everything.

    Args:
        network: From `covid_monai.networks.build_network`.
        epochs: How many epochs the backbone rests; 0 for none.
    """

    def __init__(self, network: nn.Module, epochs: int) -> None:
        self.network = network
        self.epochs = epochs

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        if self.epochs > 0:
            engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Freeze or release, by the epoch alone: a resumed run does the same."""
        for parameter in backbone_parameters(self.network):
            parameter.requires_grad_(engine.state.epoch > self.epochs)


class EarlyStop:
    """Stop when the key metric has not improved for some epochs.

    It keeps no count of its own: the epoch of the best metric stands in the evaluator's state, which
    `RunFolder` restores, so a resumed run stops where the uninterrupted one does.

    Args:
        evaluator: MONAI keeps the best key metric in its state.
        patience: Epochs without a better one before stopping; 0 or less never stops.
    """

    def __init__(self, evaluator: Engine, patience: int) -> None:
        self.evaluator = evaluator
        self.patience = patience

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; list this handler after those that validate and restore."""
        if self.patience > 0:
            engine.add_event_handler(Events.STARTED | Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Stop after the epoch that just ended."""
        best_epoch = self.evaluator.state.best_metric_epoch
        if best_epoch > 0 and engine.state.epoch - best_epoch >= self.patience:
            logger.info("No better validation metric for %d epochs: stopping.", self.patience)
            engine.terminate()


class Throughput:
    """Images per second of training, and the share of the time that waits for data.

    Both stand in the trainer's metrics after each epoch: `images_per_second` (per process) and
    `data_wait_fraction` in [0, 1].
    """

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._reset)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._ask)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._receive)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)

    def _reset(self, engine: Engine) -> None:
        self._start = self._asked = time.perf_counter()
        self._waited, self._images = 0.0, 0

    def _ask(self, engine: Engine) -> None:
        self._asked = time.perf_counter()

    def _receive(self, engine: Engine) -> None:
        self._waited += time.perf_counter() - self._asked

    def _count(self, engine: Engine) -> None:
        self._images += len(engine.state.batch["label"])

    def _report(self, engine: Engine) -> None:
        if engine.state.device.type == "cuda":
            torch.cuda.synchronize(engine.state.device)
        elapsed = time.perf_counter() - self._start
        engine.state.metrics["images_per_second"] = self._images / elapsed
        engine.state.metrics["data_wait_fraction"] = self._waited / elapsed
