"""Comparison of two models on the same images, paired by image.

The same resamples of the patients are used for both models, so that easy and difficult patients cancel out.
Two separate intervals that overlap say much less. (DeLong's test is not used: no well-maintained Python
library has it, and it assumes independent images.)

Reference: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 16.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from covid_monai.core.number_format import format_count
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, choose_operating_point, decide
from covid_monai.evaluation.metrics.bootstrapped_metrics import (
    evaluate_rows,
    images_behind,
    resampled_metrics,
)
from covid_monai.evaluation.metrics.classification_metrics import HEADLINE_METRICS
from covid_monai.evaluation.metrics.intervals import CONFIDENCE, Interval, PatientBootstrap
from covid_monai.evaluation.metrics.prediction_table import PredictionTable


def compare_predictions(
    first: PredictionTable,
    second: PredictionTable,
    *,
    split: str = "test",
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute differences between two models on the images of one split, paired by image.

    Each model decides at thresholds chosen on its own validation rows. Where either has none, both decide for
    the most probable class.

    Args:
        first: Predictions of one model.
        second: Predictions of the other model, on the same images, patients and labels, in any order.
        split: Split whose rows are compared.
        resamples: Number of resamples of the patients.
        seed: Seed of the resamples.

    Returns:
        `split`, `images`, `patients`, `rule` (of the decisions), `class_names`, `confidence`,
        `resamples`, `seed`; `metrics`: name to `first`, `second` (each `{"value", "low", "high"}`),
        `difference` (second minus first, likewise) and `p_value` (two-sided, of no difference; None where the
        resamples do not vary). Metrics: `auroc`, `balanced_accuracy`, `macro_f1`, `accuracy`, and with
        three or more classes `auroc (NAME)` for each.

    Raises:
        ValueError: If the classes, images, patients or labels are not the same; the message says which.
    """
    one, other = _same_images(first.split(split), second.split(split), split)
    points, rule = _operating_points(first, second)
    values, draws = [], []
    for rows, point in zip((one, other), points, strict=True):
        decisions = decide(rows.probabilities, point)
        bootstrap = PatientBootstrap(rows.patients, resamples=resamples, seed=seed)
        draws.append(
            _named(resampled_metrics(rows.labels, decisions, rows.probabilities, bootstrap)[0], rows)
        )
        own = evaluate_rows(rows, point, resamples=resamples, seed=seed)
        of_classes = {f"auroc ({name})": of_class["auroc"] for name, of_class in own["per_class"].items()}
        values.append(own | of_classes)
    effective = {
        name: bootstrap.patients_of(images_behind(metric, k, one.labels, decisions, bootstrap))[1]
        for name, (metric, k) in _metrics(one.class_names).items()
    }
    return {
        "split": split,
        "images": len(one),
        "patients": bootstrap.n_patients,
        "class_names": list(one.class_names),
        "rule": rule,
        "confidence": CONFIDENCE,
        "resamples": resamples,
        "seed": seed,
        "metrics": {
            metric: {
                "first": values[0][metric],
                "second": values[1][metric],
                **_difference(
                    values[0][metric]["value"],
                    values[1][metric]["value"],
                    draws[1][metric] - draws[0][metric],
                    freedom=effective[metric] - 1,
                ),
            }
            for metric in draws[0]
        },
    }


def _same_images(
    one: PredictionTable, other: PredictionTable, split: str
) -> tuple[PredictionTable, PredictionTable]:
    """Return both in the order of the first, or raise ValueError."""
    if one.class_names != other.class_names:
        raise ValueError(
            f"The models have different classes ({', '.join(one.class_names)} and "
            f"{', '.join(other.class_names)}). A comparison needs the same classes in the same order."
        )
    if len(one) == 0 or len(other) == 0:
        raise ValueError(
            f"The {'first' if len(one) == 0 else 'second'} file has no row of the split {split}."
        )
    for rows, which in ((one, "first"), (other, "second")):
        if len(np.unique(rows.images)) < len(rows):
            raise ValueError(f"The {which} file lists an image more than once in the split {split}.")
    alone = np.setxor1d(one.images, other.images)
    if len(alone):
        raise ValueError(
            f"The files list different images: {format_count(len(alone), 'image')} in only one of them, for "
            f"example {alone[0]}. Evaluate both models on the same datalist."
        )
    other = other.where(np.argsort(other.images)[np.searchsorted(np.sort(other.images), one.images)])
    for what, a, b in (("label", one.labels, other.labels), ("patient", one.patients, other.patients)):
        if not np.array_equal(a, b):
            differing = one.images[a != b]
            images = format_count(len(differing), "image")
            raise ValueError(f"The files disagree on the {what} of {images}, for example {differing[0]}.")
    return one, other


def _operating_points(first: PredictionTable, second: PredictionTable) -> tuple[list[OperatingPoint], str]:
    own = [predictions.split("validation") for predictions in (first, second)]
    if any(len(rows) == 0 for rows in own):
        points = [OperatingPoint.argmax(rows.class_names) for rows in own]
        return points, "the most probable class, because not both files have validation rows"
    points = [choose_operating_point(rows.labels, rows.probabilities, rows.class_names) for rows in own]
    return points, "Youden's thresholds, chosen on each model's own validation rows"


def _metrics(class_names: Sequence[str]) -> dict[str, tuple[str, int | None]]:
    """Return the metrics that are compared: name to metric and class index, None for all classes."""
    of_all: dict[str, tuple[str, int | None]] = {metric: (metric, None) for metric in HEADLINE_METRICS}
    several = class_names if len(class_names) > 2 else ()
    return of_all | {f"auroc ({name})": ("auroc", k) for k, name in enumerate(several)}


def _named(draws: dict[str, Any], rows: PredictionTable) -> dict[str, NDArray[np.float64]]:
    return {
        name: draws[metric] if k is None else draws["per_class"][metric][:, k]
        for name, (metric, k) in _metrics(rows.class_names).items()
    }


def _difference(
    first: float | None, second: float | None, draws: NDArray[np.float64], *, freedom: float
) -> dict[str, Any]:
    """Compute Student's interval from the bootstrap's standard error, with its p value."""
    difference = None if first is None or second is None else second - first
    defined = draws[~np.isnan(draws)]
    error = float(defined.std(ddof=1)) if len(defined) > 1 else 0.0
    if difference is None or freedom <= 0 or 2 * len(defined) < len(draws) or error < 1e-12:
        return {"difference": Interval(difference, None, None).to_json(), "p_value": None}
    freedom = max(freedom, 1.0)
    reach = error * student.ppf((1 + CONFIDENCE) / 2, freedom)
    interval = Interval(difference, max(-1.0, difference - reach), min(1.0, difference + reach))
    p_value = float(2 * student.sf(abs(difference) / error, freedom))
    return {"difference": interval.to_json(), "p_value": p_value}
