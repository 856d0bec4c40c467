"""An evaluator's probabilities beside the datalist's records, as `predictions.csv`."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from covid_monai.bundle import Bundle
from covid_monai.core.progress import progress_bar
from covid_monai.datasets.datalist import Datalist
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.metrics.prediction_table import write_predictions


class PredictionTable:
    """Write one row per record with its class probabilities when the evaluator has seen them all.

    Args:
        path: `predictions.csv`; written in one step.
        records: What the evaluator's loader iterates, in its order, each with `split`.
        class_names: In the order of the logits.
        calibration: The bundle's; None leaves the network's own probabilities.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        records: Sequence[dict],
        class_names: Sequence[str],
        calibration: Calibration | None = None,
    ) -> None:
        self.path = Path(path)
        self.records = records
        self.class_names = tuple(class_names)
        self.calibration = calibration

    def attach(self, engine: Engine) -> None:
        """Listen to the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self._logits: list[Tensor] = []

    def _keep(self, engine: Engine) -> None:
        self._logits.append(engine.state.output["pred"].cpu())

    def _write(self, engine: Engine) -> None:
        probabilities = torch.softmax(torch.cat(self._logits).double(), dim=1).numpy()
        if self.calibration is not None:
            probabilities = self.calibration.apply(probabilities)
        # Six decimals as in `predict`: the same image gives the same digits in both.
        rows = [
            {**record, "probabilities": row}
            for record, row in zip(self.records, probabilities.round(6).tolist(), strict=True)
        ]
        write_predictions(self.path, rows, self.class_names)


class ScoringProgress:
    """Show how far an evaluator is, in images.

    Args:
        total: Number of images.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._open = ExitStack()

    def attach(self, engine: Engine) -> None:
        """Listen to the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        for event in (Events.COMPLETED, Events.EXCEPTION_RAISED):
            engine.add_event_handler(event, self._stop)

    def _start(self, engine: Engine) -> None:
        self._bar = self._open.enter_context(progress_bar("scoring", self.total))

    def _advance(self, engine: Engine) -> None:
        self._bar.advance(len(engine.state.output["pred"]))

    def _stop(self, engine: Engine, error: BaseException | None = None) -> None:
        self._open.close()
        if error is not None:  # whoever listens to this event has to raise it again
            raise error


def evaluation_records(
    bundle: Bundle, datalist: Datalist, dataset_dir: str | Path | None = None
) -> list[dict]:
    """Records of the test split, and of the validation split where there is one, each with its `split`.

    Raises:
        ValueError: If there is no test split, or the bundle was trained on other classes.
        FileNotFoundError: If an image is missing.
    """
    if datalist.class_names != bundle.class_names:
        raise ValueError(
            f"{datalist.path} has the classes {', '.join(datalist.class_names)}; {bundle.root} was "
            f"trained on {', '.join(bundle.class_names)}: prepare the datalist with the bundle's classes"
        )
    splits = [split for split in ("validation", "test") if datalist.splits[split] or split == "test"]
    return [{**record, "split": split} for split in splits for record in datalist.records(split, dataset_dir)]
