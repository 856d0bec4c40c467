"""The test images of all folds of one variant, together."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.bundle import Bundle
from covid_monai.core.atomic_files import write_text_atomically
from covid_monai.evaluation.decisions.operating_point import decide
from covid_monai.evaluation.metrics.bootstrapped_metrics import metrics_with_intervals
from covid_monai.evaluation.metrics.prediction_table import PredictionTable, read_predictions


def pooled_metrics(runs: Sequence[Path], apart: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Metrics of all folds' test images together, each decided by the thresholds of its own fold.

    Args:
        runs: Folder of each fold's run, with `evaluation/predictions.csv`.
        apart: Name to a pattern for image paths: images that are reported on their own too.

    Returns:
        As `metrics_with_intervals`, and `apart`: name to `n`, `patients` and `accuracy` with its interval.

    Raises:
        ValueError: If a pattern fits no image.
    """
    images, decisions = _read(runs)
    found = {}
    for name, pattern in (apart or {}).items():
        rows = np.array([fnmatch(image, pattern) for image in images.images])
        if not rows.any():
            raise ValueError(f"no test image fits {pattern} ({name})")
        metrics = _metrics(images.where(rows), decisions[rows])
        patients = metrics["bootstrap"]["patients"]
        found[name] = {"n": metrics["n"], "patients": patients, "accuracy": metrics["accuracy"]}
    return {**_metrics(images, decisions), "apart": found}


def join_test_rows(runs: Sequence[Path], path: Path) -> None:
    """Write the test rows of all folds as one predictions.csv, which `covid-monai compare` takes."""
    joined = io.StringIO(newline="")
    writer: csv.DictWriter | None = None
    for run in runs:
        with (run / "evaluation" / "predictions.csv").open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if writer is None:
                writer = csv.DictWriter(joined, reader.fieldnames or ())
                writer.writeheader()
            writer.writerows(row for row in reader if row["split"] == "test")
    write_text_atomically(path, joined.getvalue())


def _read(runs: Sequence[Path]) -> tuple[PredictionTable, NDArray[np.int64]]:
    parts, decisions = [], []
    for run in runs:
        rows = read_predictions(run / "evaluation" / "predictions.csv").split("test")
        point = Bundle(run).operating_point
        parts.append(rows)
        decisions.append(
            rows.probabilities.argmax(axis=1) if point is None else decide(rows.probabilities, point)
        )
    names = [f.name for f in fields(PredictionTable) if f.name != "class_names"]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in names
    }
    return replace(parts[0], **columns), np.concatenate(decisions)


def _metrics(images: PredictionTable, decisions: NDArray[np.int64]) -> dict[str, Any]:
    return metrics_with_intervals(
        images.labels, decisions, images.probabilities, images.patients, images.class_names
    )
