"""Scoring of a datalist by an evaluator: its records and `predictions.csv`."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from covid_monai.bundle import Bundle
from covid_monai.core.errors import exception_chain, first_line, without_file_name
from covid_monai.core.parallel import map_in_threads
from covid_monai.core.tables import write_table
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.datasets.datalist import Datalist
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.metrics.prediction_table import write_predictions
from covid_monai.inference.decision import compute_probabilities

logger = logging.getLogger(__name__)


class ProbabilityTable:
    """Saver for MONAI's `ClassificationSaver`: rows of file name and probabilities, no header.

    MONAI's own saver writes names as they are, so that a comma or a formula in one spoils the table.
    """

    def __init__(self, path: str) -> None:
        """Take the path of the table."""
        self._path = Path(path)
        self._rows: list[list[object]] = []

    def save_batch(self, batch_data: Tensor, meta_data: dict[str, list[str]]) -> None:
        """Keep the probabilities [N, K] and the names of N images."""
        names = meta_data["filename_or_obj"]
        self._rows += ([name, *row.tolist()] for name, row in zip(names, batch_data, strict=True))

    def finalize(self) -> None:
        """Write the table in one step."""
        write_table(self._path, (), self._rows)


@dataclass
class PredictionTableWriter:
    """Handler that writes `predictions.csv`, in one step, when the evaluator has scored all records."""

    path: str | Path  # of predictions.csv
    records: Sequence[dict]  # of the evaluator's loader, in its order, each with `split`
    class_names: Sequence[str]  # in the order of the logits
    calibration: Calibration | None = None  # of the bundle; None keeps the probabilities of the network

    def attach(self, engine: Engine) -> None:
        """Add the handler to the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self) -> None:
        self._logits: list[Tensor] = []  # [N, K] of each batch

    def _keep(self, engine: Any) -> None:
        self._logits.append(engine.state.output["pred"].cpu())

    def _write(self) -> None:
        probabilities = compute_probabilities(torch.cat(self._logits).numpy(), self.calibration)
        # Six decimals as in `predict`: the same image has the same digits in both.
        rows = [
            {**record, "probabilities": row}
            for record, row in zip(self.records, probabilities.round(6).tolist(), strict=True)
        ]
        write_predictions(Path(self.path), rows, tuple(self.class_names))


def evaluation_records(
    bundle: Bundle, datalist: Datalist, dataset_dir: str | Path | None = None
) -> list[dict]:
    """Return the records of the test split, and of the validation split if there is one, each with `split`.

    Raises:
        ValueError: If there is no test split, or the bundle was trained on other classes.
        FileNotFoundError: If an image is missing.
    """
    if datalist.class_names != bundle.class_names:
        raise ValueError(
            f"{datalist.path} has the classes {', '.join(datalist.class_names)}, but {bundle.root} was "
            f"trained on {', '.join(bundle.class_names)}. Prepare the datalist with the bundle's classes."
        )
    splits = [split for split in ("validation", "test") if datalist.splits[split] or split == "test"]
    return [{**record, "split": split} for split in splits for record in datalist.records(split, dataset_dir)]


def usable_records(records: Sequence[dict], preprocessing: Callable[[dict], dict]) -> list[dict]:
    """Return the records whose images can be read; the log names the others with the reason.

    One image that cannot be read thus stops no other. The report says how many are not counted.

    Args:
        records: Records of `evaluation_records`.
        preprocessing: Preprocessing of the bundle, which reads `image`.

    Raises:
        ValueError: If no test image can be read.
    """

    def problem(record: dict) -> str | None:
        try:
            preprocessing({"image": record["image"]})
        except RuntimeError as error:  # MONAI wraps what its reader raises
            ours = [c for c in exception_chain(error) if isinstance(c, RefusedImage | UnreadableImage)]
            if not ours:
                raise
            return first_line(ours[0])
        return None

    problems = list(map_in_threads(problem, records, "Reading images", total=len(records)))
    for record, found in zip(records, problems, strict=True):
        if found is not None:
            logger.warning(
                "%s is not counted: %s", record["image"], without_file_name(found, record["image"])
            )
    usable = [record for record, found in zip(records, problems, strict=True) if found is None]
    if not any(record["split"] == "test" for record in usable):
        found = next(found for found in problems if found is not None)
        raise ValueError(f"No image of the test split can be read. The first problem: {found}")
    return usable
