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
        done = engine.state.epoch - self._first_epoch
        left = (time.perf_counter() - self._started) / done * (engine.state.max_epochs - engine.state.epoch)
        logger.info(
            "Epoch %d/%d  loss %.3f  %s%.0f images/s  %.0f min left",
            engine.state.epoch,
            engine.state.max_epochs,
            engine.state.metrics["loss"],
            self._describe_validation(engine.state.epoch),
            engine.state.metrics["images_per_second"],
            left / 60,
        )

    def _describe_validation(self, epoch: int) -> str:
        seen = self.evaluator.state
        if seen.epoch != epoch:
            return ""
        names = {"auroc": "AUROC", "balanced_accuracy": "balanced accuracy", "loss": "loss"}
        figures = ", ".join(
            f"{text} {seen.metrics[name]:.3f}" for name, text in names.items() if name in seen.metrics
        )
        return f"validation: {figures}{' (best)' if seen.best_metric_epoch == epoch else ''}  "
