"""Metrics with 95 % intervals from resampled patients."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_monai.evaluation.decisions.operating_point import OperatingPoint, decide
from covid_monai.evaluation.metrics.classification_metrics import (
    CLASS_METRICS,
    HEADLINE_METRICS,
    SMALLEST_PROBABILITY,
    WeightedMetrics,
    check_shapes,
    compute_metrics,
    log_losses,
    mean_of_defined,
    metrics_from_confusion,
    squared_errors,
)
from covid_monai.evaluation.metrics.intervals import (
    CONFIDENCE,
    Interval,
    PatientBootstrap,
    area_interval,
    biased_interval,
    clustered_means,
    complement,
    exact_interval,
    mean_loss_interval,
    ratio_interval,
    share_interval,
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

    Args:
        labels: Shape [N], true class indices.
        decisions: Shape [N], decided class indices.
        probabilities: Shape [N, K].
        patients: Shape [N], patient of each image.
        class_names: K names.
        resamples: Number of resamples of the patients.
        seed: Seed of the resamples.

    Returns:
        Keys of `compute_metrics`, each metric as `{"value", "low", "high"}`, and `bootstrap` with the
        settings, `patients`, and `skipped`: resamples left out because they have no case of a class. `low`
        and `high` are None where the metric is undefined or rests on fewer than two patients. Where every
        resample gives the same perfect (or worst) value, resampling shows no uncertainty. There the exact
        binomial interval for as many cases as there are patients is used, and `exact` names the metric.
        A positive likelihood ratio without false positives is infinite: `value` and `high` are None, `low`
        is not.
    """
    truth, decided, scores = check_shapes(labels, decisions, probabilities, class_names)
    values = compute_metrics(truth, decided, scores, class_names)
    bootstrap = PatientBootstrap(truth, patients, resamples=resamples, seed=seed)
    sample = _Resampled(truth, decided, scores, bootstrap)
    headline = {m: sample.share(m, None, values[m]) for m in (*HEADLINE_METRICS, "average_precision")}
    headline |= {"kappa": sample.kappa(values["kappa"]), "ece": sample.ece(None, values["ece"])}
    headline |= {m: sample.loss(m, None, values[m]) for m in ("brier", "log_loss")}
    return {
        **values,
        **{metric: interval.to_json() for metric, interval in headline.items()},
        "per_class": {
            name: {m: interval.to_json() for m, interval in sample.of_class(k, name, of_class).items()}
            | {"support": of_class["support"]}
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


class _Resampled:
    """Metrics of all resamples with every class of the sample, and intervals from them."""

    def __init__(
        self,
        labels: NDArray[np.int64],
        decisions: NDArray[np.int64],
        scores: Floats,
        bootstrap: PatientBootstrap,
    ) -> None:
        self.labels, self.decisions, self.bootstrap = labels, decisions, bootstrap
        self.exact: list[str] = []
        self.draws, self.skipped = resampled_metrics(labels, decisions, scores, bootstrap)
        errors = squared_errors(labels, scores)
        losses = np.column_stack([errors.sum(axis=1) / 2, log_losses(labels, scores), errors])
        self._losses = clustered_means(losses, bootstrap)

    def share(self, metric: str, k: int | None, value: float | None, name: str = "") -> Interval:
        """Compute the interval of a metric between 0 and 1."""
        if value is None:
            return Interval(None, None, None)
        draws = self.draws[metric] if k is None else self.draws["per_class"][metric][:, k]
        rows = self._rows(metric, k)
        n, effective = self.bootstrap.patients_of(rows)
        if metric in _AREAS:
            found = area_interval(value, draws, effective_patients=effective, images=int(rows.sum()))
        else:
            found = share_interval(value, draws, effective_patients=effective)
        if found.low is None and value in (0.0, 1.0) and n > 1:
            self.exact.append(f"{name}: {metric}" if name else metric)
            return exact_interval(value, n)
        return found

    def kappa(self, value: float | None) -> Interval:
        """Compute the interval of Cohen's kappa, which is from -1 to 1, as that of a share."""
        self.draws["agreement"] = (self.draws["kappa"] + 1) / 2
        ends = self.share("agreement", None, None if value is None else (value + 1) / 2)
        return Interval(value, *(None if end is None else 2 * end - 1 for end in ends[1:]))

    def ece(self, k: int | None, value: float | None) -> Interval:
        """Compute the interval of the expected calibration error, overall or of a class."""
        if value is None:
            return Interval(None, None, None)
        draws = self.draws["ece"][:, -1 if k is None else k]
        _, effective = self.bootstrap.patients_of(np.ones(len(self.labels), dtype=bool))
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

    def _rows(self, metric: str, k: int | None) -> NDArray[np.bool_]:
        """Return the images in the denominator of a metric; of a metric on two groups the smaller one."""
        is_case = self.labels == k
        if metric in ("accuracy", "agreement"):
            groups = [np.ones(len(self.labels), dtype=bool)]
        elif metric in ("ppv", "npv"):
            groups = [(self.decisions == k) == (metric == "ppv")]
        elif metric == "specificity":
            groups = [~is_case]
        elif k is None:
            groups = [self.labels == c for c in np.unique(self.labels)]
        else:
            groups = [is_case, ~is_case] if metric in _AREAS else [is_case]
        return min(groups, key=lambda rows: self.bootstrap.patients_of(rows)[0])


def resampled_metrics(
    labels: NDArray[np.int64], decisions: NDArray[np.int64], scores: Floats, bootstrap: PatientBootstrap
) -> tuple[dict[str, Any], int]:
    """Compute the metrics of all resamples with every class of the sample, and count the other resamples.

    Returns:
        Result of `metrics_from_confusion` with shapes [B] and [B, K], with `average_precision` likewise and
        `ece` of shape [B, K + 1], the last column for all classes together; then the number left out.
    """
    measured = WeightedMetrics(labels, decisions, scores)
    blocks = zip(*(measured.measure(weights) for weights in bootstrap.image_weights()), strict=True)
    parts = [np.concatenate(part) for part in blocks]
    present = np.isin(np.arange(scores.shape[1]), labels)
    complete = (parts[0].sum(axis=2)[:, present] > 0).all(axis=1)
    confusion, auroc, precision, ece = (part[complete] for part in parts)
    draws = metrics_from_confusion(confusion, auroc)
    draws["per_class"]["average_precision"] = precision
    draws |= {"average_precision": mean_of_defined(precision), "ece": ece}
    return draws, int((~complete).sum())
