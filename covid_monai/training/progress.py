"""What a person sees while a training runs: a bar within the epoch, a line after it."""

import logging
import time

from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar

logger = logging.getLogger("covid_monai.training")


class ProgressReport:
    """A progress bar with the loss, and one line per epoch with the figures that decide.

    Args:
        evaluator: Whose metrics are shown.
        rank: Only rank 0 prints.
    """

    def __init__(self, evaluator: Engine, rank: int = 0) -> None:
        self.evaluator = evaluator
        self.rank = rank

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; list this handler after the validation handler."""
        if self.rank != 0:
            return
        bar = ProgressBar(persist=False, desc="Epoch")
        bar.attach(engine, output_transform=lambda output: {"loss": output["loss"].detach().item()})
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)

    def _start(self, engine: Engine) -> None:
        self._started = time.perf_counter()
        self._first_epoch = engine.state.epoch

    def _report(self, engine: Engine) -> None:
        train, val = engine.state.metrics, self.evaluator.state.metrics
        done = engine.state.epoch - self._first_epoch
        left = (time.perf_counter() - self._started) / done * (engine.state.max_epochs - engine.state.epoch)
        best = " (best)" if self.evaluator.state.best_metric_epoch == engine.state.epoch else ""
        logger.info(
            "Epoch %d/%d  loss %.3f  validation: AUROC %.3f, balanced accuracy %.3f, loss %.3f%s  "
            "%.0f images/s  %.0f min left",
            engine.state.epoch,
            engine.state.max_epochs,
            train["loss"],
            val.get("auroc", float("nan")),
            val.get("balanced_accuracy", float("nan")),
            val["loss"],
            best,
            train["images_per_second"],
            left / 60,
        )
