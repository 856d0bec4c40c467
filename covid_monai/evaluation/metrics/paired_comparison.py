"""Comparison of two models on the same images, paired by image.

The same resamples of the patients are used for both models, so that easy and difficult patients cancel out.
Two separate intervals that overlap say much less. (DeLong's test is not used: no well-maintained Python
library has it, and it assumes independent images.)

A model may have several tables, one for each seed of its training. The intervals then hold the chance of the
training too: the comparison is one of recipes rather than of trained networks (see `variance_components`).

Reference: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 16.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit

from covid_monai.core.number_format import format_count
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, choose_operating_point, decide
from covid_monai.evaluation.metrics.bootstrapped_metrics import ResampledMetrics, images_behind
from covid_monai.evaluation.metrics.classification_metrics import HEADLINE_METRICS, compute_metrics
from covid_monai.evaluation.metrics.intervals import CONFIDENCE, Interval, PatientBootstrap
from covid_monai.evaluation.metrics.prediction_table import Floats, PredictionTable
from covid_monai.evaluation.metrics.variance_components import (
    Component,
    joined,
    patient_component,
    seed_component,
    student_interval,
)

_SOURCES = (
    "An AUROC over images of several sources also counts pairs of images of two sources, so that it rewards "
    "a model that tells the sources apart. Compare within one source"
)


def compare_predictions(
    first: Sequence[PredictionTable],
    second: Sequence[PredictionTable],
    *,
    split: str = "test",
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute differences between two models on the images of one split, paired by image.

    Each table has thresholds chosen on its own validation rows. Where one has none, all tables decide for the
    most probable class.

    Args:
        first: Predictions of one model: one table for each seed of its training.
        second: Predictions of the other model, on the same images, patients and labels, in any order.
        split: Split whose rows are compared.
        resamples: Number of resamples of the patients.
        seed: Seed of the resamples.

    Returns:
        `split`, `images`, `patients`, `rule` (of the decisions), `scope` (what the intervals hold, in words),
        `caution` (about images of several sources; None without), `class_names`, `confidence`, `resamples`,
        `seed`; `metrics`: name to `first`, `second` (each `{"value", "low", "high"}`, means over the seeds),
        `difference` (second minus first, likewise), `p_value` (two-sided, of no difference) and
        `degrees_of_freedom`, which are None where nothing varies. Metrics: `auroc`, `balanced_accuracy`,
        `macro_f1`, `accuracy`, and with three or more classes `auroc (NAME)` for each.

    Raises:
        ValueError: If the classes, images, patients or labels are not the same; the message says which.
    """
    names = [*_file_names("first", len(first)), *_file_names("second", len(second))]
    tables = _same_images([table.split(split) for table in (*first, *second)], names, split)
    points, rule = _operating_points([*first, *second])
    bootstrap = PatientBootstrap(tables[0].patients, resamples=resamples, seed=seed)
    found = [_Figures(rows, point, bootstrap) for rows, point in zip(tables, points, strict=True)]
    both = (found[: len(first)], found[len(first) :])
    return {
        "split": split,
        "images": len(tables[0]),
        "patients": bootstrap.n_patients,
        "class_names": list(tables[0].class_names),
        "rule": rule,
        "scope": _scope(len(first), len(second)),
        "caution": _SOURCES if len(np.unique(tables[0].sources)) > 1 else None,
        "confidence": CONFIDENCE,
        "resamples": resamples,
        "seed": seed,
        "metrics": {metric: _compare(metric, *both) for metric in found[0].values},
    }


def _file_names(which: str, n: int) -> list[str]:
    """Return how messages name the files of one model."""
    return [f"{which} file"] if n == 1 else [f"{which} model's file {number}" for number in range(1, n + 1)]


def _scope(first: int, second: int) -> str:
    if min(first, second) > 1:
        return f"The intervals hold the chance of patients and of trainings ({first} and {second} seeds)"
    which = "each model" if first == second else "A" if first == 1 else "B"
    return (
        f"The intervals do not hold the chance of training: there is one seed of {which}, and another may "
        "change the difference. Give the tables of several seeds to compare recipes"
    )


class _Figures:
    """Metrics of one table: of its images, and of every resample."""

    def __init__(self, rows: PredictionTable, point: OperatingPoint, bootstrap: PatientBootstrap) -> None:
        sample = (rows.labels, decide(rows.probabilities, point), rows.probabilities)
        self._resampled, values = (
            ResampledMetrics(*sample, bootstrap),
            compute_metrics(*sample, rows.class_names),
        )
        self.values: dict[str, float | None] = {metric: values[metric] for metric in HEADLINE_METRICS}
        self.draws: dict[str, Floats] = {metric: self._resampled.draws[metric] for metric in HEADLINE_METRICS}
        self._keys: dict[str, tuple[str, int | None]] = {
            metric: (metric, None) for metric in HEADLINE_METRICS
        }
        for k, name in enumerate(rows.class_names if len(rows.class_names) > 2 else ()):
            key = f"auroc ({name})"
            self.values[key] = values["per_class"][name]["auroc"]
            self.draws[key] = self._resampled.draws["per_class"]["auroc"][:, k]
            self._keys[key] = ("auroc", k)
        self.effective = {
            name: bootstrap.effective_patients(images_behind(*key, *sample[:2], bootstrap))
            for name, key in self._keys.items()
        }

    def interval(self, name: str) -> Interval:
        """Compute the interval of a metric of this table over the patients."""
        return self._resampled.share(*self._keys[name], self.values[name])


def _compare(metric: str, first: Sequence[_Figures], second: Sequence[_Figures]) -> dict[str, Any]:
    (values, draws), (other_values, other_draws) = (_of_seeds(metric, model) for model in (first, second))
    components = _components(other_draws - draws, first[0].effective[metric], values, other_values)
    difference, p_value = student_interval(float(other_values.mean() - values.mean()), components)
    return {
        "first": _mean(metric, first).to_json(),
        "second": _mean(metric, second).to_json(),
        "difference": Interval(
            *(None if end is None else np.clip(end, -1, 1) for end in difference)
        ).to_json(),
        "p_value": p_value,
        "degrees_of_freedom": None if p_value is None else joined(components)[1],
    }


def _of_seeds(metric: str, model: Sequence[_Figures]) -> tuple[Floats, Floats]:
    """Return the values [S] of the seeds of a model, NaN where undefined, and the means [B] of resamples."""
    values = np.array([figures.values[metric] for figures in model], dtype=np.float64)
    return values, np.asarray(np.mean([figures.draws[metric] for figures in model], axis=0))


def _components(draws: Floats, effective: float, *values: Floats) -> list[Component]:
    """Return the causes of uncertainty; none if a value is undefined or that of the patients is not known."""
    patients = patient_component(draws, effective)
    if patients is None or np.isnan(np.concatenate(values)).any():
        return []
    return [patients, *(part for part in map(seed_component, values) if part)]


def _mean(metric: str, model: Sequence[_Figures]) -> Interval:
    """Compute the mean of a metric over the seeds of a model, with an interval on the logit scale."""
    if len(model) == 1:
        return model[0].interval(metric)
    values, draws = _of_seeds(metric, model)
    mean = float(values.mean())
    if not 0 < mean < 1:
        return Interval(None if np.isnan(mean) else mean, None, None)
    components = _components(draws, model[0].effective[metric], values)
    slope = 1 / (mean * (1 - mean))
    ends, _ = student_interval(float(logit(mean)), [part.scaled(slope) for part in components])
    return Interval(mean, *(None if end is None else float(expit(end)) for end in ends[1:]))


def _same_images(
    tables: Sequence[PredictionTable], names: Sequence[str], split: str
) -> list[PredictionTable]:
    """Return the tables in the order of the first, or raise ValueError."""
    one = tables[0]
    for rows, name in zip(tables, names, strict=True):
        if len(rows) == 0:
            raise ValueError(f"The {name} has no row of the split {split}.")
        if len(np.unique(rows.images)) < len(rows):
            raise ValueError(f"The {name} lists an image more than once in the split {split}.")
    return [one, *(_in_order_of(one, other, name) for other, name in zip(tables[1:], names[1:], strict=True))]


def _in_order_of(one: PredictionTable, other: PredictionTable, name: str) -> PredictionTable:
    if one.class_names != other.class_names:
        raise ValueError(
            f"The models have different classes ({', '.join(one.class_names)} and "
            f"{', '.join(other.class_names)}). A comparison needs the same classes in the same order."
        )
    alone = np.setxor1d(one.images, other.images)
    if len(alone):
        raise ValueError(
            f"The first file and the {name} list different images: {format_count(len(alone), 'image')} in "
            f"only one of them, for example {alone[0]}. Evaluate all models on the same datalist."
        )
    other = other.where(np.argsort(other.images)[np.searchsorted(np.sort(other.images), one.images)])
    for what, a, b in (("label", one.labels, other.labels), ("patient", one.patients, other.patients)):
        if not np.array_equal(a, b):
            differing = one.images[a != b]
            raise ValueError(
                f"The first file and the {name} disagree on the {what} of "
                f"{format_count(len(differing), 'image')}, for example {differing[0]}."
            )
    return other


def _operating_points(tables: Sequence[PredictionTable]) -> tuple[list[OperatingPoint], str]:
    own = [predictions.split("validation") for predictions in tables]
    if any(len(rows) == 0 for rows in own):
        points = [OperatingPoint.argmax(rows.class_names) for rows in own]
        return points, "the most probable class, because not all files have validation rows"
    points = [
        choose_operating_point(
            rows.labels, rows.probabilities, rows.class_names, patients=rows.patients, sources=rows.sources
        )
        for rows in own
    ]
    return points, "Youden's thresholds, chosen on the validation rows of each file"
