"""Metrics with 95 % intervals from resampled patients."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_monai.evaluation.decisions.operating_point import OperatingPoint, decide
from covid_monai.evaluation.metrics.calibration_metrics import ece_by_chance
from covid_monai.evaluation.metrics.classification_metrics import (
    CLASS_METRICS,
    HEADLINE_METRICS,
    SMALLEST_PROBABILITY,
    WeightedMetrics,
    check_shapes,
    compute_metrics,
    log_losses,
    macro,
    metrics_from_confusion,
    squared_errors,
)
from covid_monai.evaluation.metrics.intervals import (
    CONFIDENCE,
    Interval,
    PatientBootstrap,
    biased_interval,
    clustered_means,
    complement,
    mean_loss_interval,
    ratio_interval,
    resampled_area,
    resampled_share,
)
from covid_monai.evaluation.metrics.prediction_table import Floats, PredictionTable

_AREAS = ("auroc", "average_precision")


def metrics_with_intervals(
    labels: ArrayLike,
    decisions: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    class_names: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the metrics of `compute_metrics`, each with its interval over resampled patients.

    `compute_metrics` and `PatientBootstrap` explain the arguments.

    Returns:
        Keys of `compute_metrics`, each metric as `{"value", "low", "high"}`; `ece_by_chance` beside each
        `ece` (see `calibration_metrics`); and `bootstrap` with the settings, `patients`, and `skipped`:
        resamples that lack a class and are left out of the metrics that are undefined without it. `low` and
        `high` are None where the metric is undefined or rests on one patient. Resampling shows no uncertainty
        of a perfect (or worst) value. There the exact binomial interval for the effective number of patients
        is used, and `exact` names the metric.
        A positive likelihood ratio without false positives is infinite: `value` and `high` are None, `low`
        is not.
    """
    truth, decided, scores = check_shapes(labels, decisions, probabilities, class_names)
    values = compute_metrics(truth, decided, scores, class_names)
    bootstrap = PatientBootstrap(patients, resamples=resamples, seed=seed)
    sample = ResampledMetrics(truth, decided, scores, bootstrap)
    headline = {m: sample.share(m, None, values[m]) for m in (*HEADLINE_METRICS, "average_precision")}
    headline |= {"kappa": sample.kappa(values["kappa"]), "ece": sample.ece(None, values["ece"])}
    headline |= {m: sample.loss(m, None, values[m]) for m in ("brier", "log_loss")}
    headline["ece_by_chance"] = ece_by_chance(scores.max(axis=1), bootstrap)
    return {
        **values,
        **{metric: interval.to_json() for metric, interval in headline.items()},
        "per_class": {
            name: {m: interval.to_json() for m, interval in sample.of_class(k, name, of_class).items()}
            | {
                "support": of_class["support"],
                "ece_by_chance": ece_by_chance(scores[:, k], bootstrap).to_json(),
            }
            for k, (name, of_class) in enumerate(values["per_class"].items())
        },
        "bootstrap": {
            "unit": "patient",
            "patients": bootstrap.n_patients,
            "resamples": resamples,
            "skipped": sample.skipped,
            "confidence": CONFIDENCE,
            "seed": seed,
            "exact": sample.exact,
        },
    }


def evaluate_rows(rows: PredictionTable, operating_point: OperatingPoint, **settings: int) -> dict[str, Any]:
    """Compute `metrics_with_intervals` of the decisions at an operating point."""
    decisions = decide(rows.probabilities, operating_point)
    return metrics_with_intervals(
        rows.labels, decisions, rows.probabilities, rows.patients, rows.class_names, **settings
    )


class ResampledMetrics:
    """Metrics of all resamples (`draws`, see `resampled_metrics`), and intervals from them."""

    def __init__(
        self,
        labels: NDArray[np.int64],
        decisions: NDArray[np.int64],
        scores: Floats,
        bootstrap: PatientBootstrap,
    ) -> None:
        self.labels, self.decisions, self.bootstrap = labels, decisions, bootstrap
        self.top = scores.argmax(axis=1)
        self.exact: list[str] = []
        self.draws, self.skipped = resampled_metrics(labels, decisions, scores, bootstrap)
        errors = squared_errors(labels, scores)
        losses = np.column_stack([errors.sum(axis=1) / 2, log_losses(labels, scores), errors])
        self._losses = clustered_means(losses, bootstrap)

    def share(self, metric: str, k: int | None, value: float | None, name: str = "") -> Interval:
        """Compute the interval of a metric between 0 and 1, overall or of a class."""
        if value is None:
            return Interval(None, None, None)
        draws = self.draws[metric] if k is None else self.draws["per_class"][metric][:, k]
        return self._interval(metric, k, value, draws, name)

    def kappa(self, value: float | None) -> Interval:
        """Compute the interval of Cohen's kappa, which is from -1 to 1, as that of a share."""
        if value is None:
            return Interval(None, None, None)
        ends = self._interval("kappa", None, (value + 1) / 2, (self.draws["kappa"] + 1) / 2)
        return Interval(value, *(None if end is None else 2 * end - 1 for end in ends[1:]))

    def _interval(self, metric: str, k: int | None, value: float, draws: Floats, name: str = "") -> Interval:
        rows = images_behind(metric, k, self.labels, self.decisions, self.bootstrap)
        effective = self.bootstrap.effective_patients(rows)
        if metric in _AREAS:
            found = resampled_area(value, draws, effective, images=int(rows.sum()))
        else:
            found = resampled_share(value, draws, effective)
        if value in (0.0, 1.0) and found.low is not None:
            self.exact.append(f"{name}: {metric}" if name else metric)
        return found

    def ece(self, k: int | None, value: float | None) -> Interval:
        """Compute the interval of the expected calibration error, overall or of a class."""
        if value is None:
            return Interval(None, None, None)
        draws = self.draws["ece"][:, -1 if k is None else k]
        effective = self.bootstrap.effective_patients(np.ones(len(self.labels), dtype=bool))
        if k is None and effective > 1:
            # Where few patients are classified wrongly, the error rests on them: it has a long upper tail.
            wrong = self.bootstrap.effective_patients(self.top != self.labels)
            effective = min(effective, max(2 * wrong, 2.0))
        return biased_interval(value, draws, effective_patients=effective)

    def loss(self, metric: str, k: int | None, value: float | None) -> Interval:
        """Compute the interval of the Brier score (overall or of a class) or the log loss."""
        column = 2 + k if k is not None else ("brier", "log_loss").index(metric)
        mean, error, means, errors = (part[..., column] for part in self._losses)
        if value is None or self.bootstrap.n_patients < 2:
            return Interval(value, None, None)
        most = -np.log(SMALLEST_PROBABILITY) if metric == "log_loss" else 1.0
        return mean_loss_interval(float(mean), float(error), means, errors, most=most)

    def of_class(self, k: int, name: str, values: dict[str, float | None]) -> dict[str, Interval]:
        """Compute every interval of one class."""
        found = {m: self.share(m, k, values[m], name) for m in (*CLASS_METRICS, "average_precision")}
        sensitivity, specificity = found["sensitivity"], found["specificity"]
        found["lr_positive"] = ratio_interval(sensitivity, complement(specificity))
        found["lr_negative"] = ratio_interval(complement(sensitivity), specificity)
        return found | {"brier": self.loss("brier", k, values["brier"]), "ece": self.ece(k, values["ece"])}


def images_behind(
    metric: str,
    k: int | None,
    labels: NDArray[np.int64],
    decisions: NDArray[np.int64],
    bootstrap: PatientBootstrap,
) -> NDArray[np.bool_]:
    """Return the images [N] in the denominator of a metric; of several groups that of the fewest patients.

    Their effective number counts: a class of 30 patients of whom one has most of the images is a small one.
    `k` is the class of the metric, None for a metric of all classes.
    """
    is_case = labels == k
    if metric in ("accuracy", "kappa"):
        groups = [np.ones(len(labels), dtype=bool)]
    elif metric in ("ppv", "npv"):
        groups = [(decisions == k) == (metric == "ppv")]
    elif metric == "specificity":
        groups = [~is_case]
    elif k is None:
        groups = [labels == c for c in np.unique(labels)]
    else:
        groups = [is_case, ~is_case] if metric in _AREAS else [is_case]
    return min(groups, key=bootstrap.effective_patients)


def resampled_metrics(
    labels: NDArray[np.int64], decisions: NDArray[np.int64], scores: Floats, bootstrap: PatientBootstrap
) -> tuple[dict[str, Any], int]:
    """Compute the metrics of all resamples, and count the resamples without a case of a class of the images.

    Returns:
        Result of `metrics_from_confusion` with shapes [B] and [B, K], with `average_precision` likewise and
        `ece` of shape [B, K + 1], the last column for all classes together; then that number. A macro metric
        is NaN where a class of the images has no case in the resample.
    """
    measured = WeightedMetrics(labels, decisions, scores)
    blocks = zip(*(measured.measure(weights) for weights in bootstrap.image_weights()), strict=True)
    confusion, auroc, precision, ece = (np.concatenate(part) for part in blocks)
    occurs = np.isin(np.arange(scores.shape[1]), labels)
    draws = metrics_from_confusion(confusion, auroc, occurs=occurs)
    draws["per_class"]["average_precision"] = precision
    draws |= {"average_precision": macro(precision, occurs), "ece": ece}
    return draws, int((confusion.sum(axis=2)[:, occurs] == 0).any(axis=1).sum())
