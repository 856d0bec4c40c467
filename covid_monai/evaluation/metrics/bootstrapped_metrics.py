"""Metrics with intervals: patients resampled (`resampling`), resamples turned into ends (`intervals`)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_monai.evaluation.metrics.classification_metrics import (
    CLASS_METRICS,
    HEADLINE_METRICS,
    SMALLEST_PROBABILITY,
    by_score,
    check_shapes,
    compute_metrics,
    equal_mass_bins,
    log_losses,
    mean_of_defined,
    metrics_from_confusion,
    ranked,
    squared_errors,
    weighted_auroc,
    weighted_average_precision,
    weighted_confusion,
    weighted_ece,
)
from covid_monai.evaluation.metrics.intervals import (
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
from covid_monai.evaluation.metrics.prediction_table import Floats

_AREAS = ("auroc", "average_precision")


def metrics_with_intervals(
    labels: ArrayLike,
    decisions: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    class_names: Sequence[str],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """`compute_metrics`, each metric with its patient-clustered bootstrap interval.

    Args:
        labels: Shape [N], true class indices.
        decisions: Shape [N], decided class indices.
        probabilities: Shape [N, K].
        patients: Shape [N], patient of each image.
        class_names: K names.
        resamples: How often the patients are drawn.
        confidence: Coverage aimed at, between 0 and 1.
        seed: Same seed, same intervals.

    Returns:
        As `compute_metrics`, each metric as `{"value", "low", "high"}`, and `bootstrap` with the settings,
        `patients`, and `skipped`: resamples left out because they drew no case of a class. `low` and
        `high` are None where the metric is undefined or rests on fewer than two patients. Where every
        resample gives the same perfect (or worst) value, resampling shows no uncertainty: there the exact
        binomial interval for as many cases as there are patients is given, and `exact` names the metric.
        A positive likelihood ratio without false positives is infinite: `value` and `high` are None, `low`
        is not.
    """
    truth, decided, scores = check_shapes(labels, decisions, probabilities, class_names)
    values = compute_metrics(truth, decided, scores, class_names)
    bootstrap = PatientBootstrap(truth, patients, resamples=resamples, seed=seed)
    sample = _Resampled(truth, decided, scores, bootstrap, confidence)
    headline = {m: sample.share(m, None, values[m]) for m in (*HEADLINE_METRICS, "average_precision")}
    headline |= {"kappa": sample.kappa(values["kappa"]), "ece": sample.ece(None, values["ece"])}
    headline |= {m: sample.loss(m, None, values[m]) for m in ("brier", "log_loss")}
    per_class = {}
    for k, name in enumerate(class_names):
        of_class = values["per_class"][name]
        per_class[name] = {
            metric: interval.to_json() for metric, interval in sample.of_class(k, name, of_class).items()
        } | {"support": of_class["support"]}
    settings = {
        "unit": "patient",
        "patients": bootstrap.n_patients,
        "resamples": resamples,
        "skipped": sample.skipped,
        "confidence": confidence,
        "seed": seed,
        "exact": sample.exact,
    }
    return {
        **values,
        **{metric: interval.to_json() for metric, interval in headline.items()},
        "per_class": per_class,
        "bootstrap": settings,
    }


class _Resampled:
    """All metrics of all resamples that hold every class of the sample, and intervals from them."""

    def __init__(
        self,
        labels: NDArray[np.int64],
        decisions: NDArray[np.int64],
        scores: Floats,
        bootstrap: PatientBootstrap,
        confidence: float,
    ) -> None:
        self.labels, self.decisions, self.bootstrap = labels, decisions, bootstrap
        self.confidence = confidence
        self.exact: list[str] = []
        self.draws, self.skipped = resampled_metrics(labels, decisions, scores, bootstrap)
        errors = squared_errors(labels, scores)
        losses = np.column_stack([errors.sum(axis=1) / 2, log_losses(labels, scores), errors])
        self._losses = clustered_means(losses, bootstrap)

    def share(self, metric: str, k: int | None, value: float | None, name: str = "") -> Interval:
        """Interval of what lies between 0 and 1, over the images that it rests on."""
        if value is None:
            return Interval(None, None, None)
        draws = self.draws[metric] if k is None else self.draws["per_class"][metric][:, k]
        rows = self._rows(metric, k)
        n, effective = self.bootstrap.patients_of(rows)
        if metric in _AREAS:
            found = area_interval(
                value,
                draws,
                effective_patients=effective,
                images=int(rows.sum()),
                confidence=self.confidence,
            )
        else:
            found = share_interval(value, draws, effective_patients=effective, confidence=self.confidence)
        if found.low is None and value in (0.0, 1.0) and n > 1:
            return self._exact(value, n, f"{name}: {metric}" if name else metric)
        return found

    def kappa(self, value: float | None) -> Interval:
        """Cohen's kappa, from -1 to 1: a share on half the scale."""
        self.draws["agreement"] = (self.draws["kappa"] + 1) / 2
        ends = self.share("agreement", None, None if value is None else (value + 1) / 2)
        return Interval(value, *(None if end is None else 2 * end - 1 for end in ends[1:]))

    def ece(self, k: int | None, value: float | None) -> Interval:
        """Expected calibration error, overall or of a class."""
        if value is None:
            return Interval(None, None, None)
        draws = self.draws["ece"][:, -1 if k is None else k]
        _, effective = self.bootstrap.patients_of(np.ones(len(self.labels), dtype=bool))
        return biased_interval(value, draws, effective_patients=effective, confidence=self.confidence)

    def loss(self, metric: str, k: int | None, value: float | None) -> Interval:
        """Brier score (overall or of a class) or log loss."""
        column = 2 + k if k is not None else ("brier", "log_loss").index(metric)
        mean, error, means, errors = (part[..., column] for part in self._losses)
        if value is None or self.bootstrap.n_patients < 2:
            return Interval(value, None, None)
        most = -np.log(SMALLEST_PROBABILITY) if metric == "log_loss" else 1.0
        return mean_loss_interval(
            float(mean), float(error), means, errors, most=most, confidence=self.confidence
        )

    def of_class(self, k: int, name: str, values: dict[str, float | None]) -> dict[str, Interval]:
        """Every interval of one class."""
        found = {m: self.share(m, k, values[m], name) for m in (*CLASS_METRICS, "average_precision")}
        sensitivity, specificity = found["sensitivity"], found["specificity"]
        found["lr_positive"] = ratio_interval(sensitivity, complement(specificity))
        found["lr_negative"] = ratio_interval(complement(sensitivity), specificity)
        return found | {"brier": self.loss("brier", k, values["brier"]), "ece": self.ece(k, values["ece"])}

    def _rows(self, metric: str, k: int | None) -> NDArray[np.bool_]:
        """The images that a metric rests on: its denominator, the smaller group for what compares two."""
        if metric in ("accuracy", "agreement"):
            return np.ones(len(self.labels), dtype=bool)
        if metric in ("ppv", "npv"):
            return (self.decisions == k) == (metric == "ppv")
        groups = [self.labels == c for c in np.unique(self.labels)]
        if metric == "specificity":
            return self.labels != k
        if k is not None:
            is_case = self.labels == k
            groups = [is_case, ~is_case] if metric in _AREAS else [is_case]
        return min(groups, key=lambda rows: self.bootstrap.patients_of(rows)[0])

    def _exact(self, value: float, n_patients: int, path: str) -> Interval:
        self.exact.append(path)
        return exact_interval(value, n_patients, confidence=self.confidence)


def resampled_metrics(
    labels: NDArray[np.int64], decisions: NDArray[np.int64], scores: Floats, bootstrap: PatientBootstrap
) -> tuple[dict[str, Any], int]:
    """Metrics of all resamples that hold every class of the sample, and the number of the others.

    Args:
        labels: Shape [N].
        decisions: Shape [N].
        scores: Shape [N, K], probabilities.
        bootstrap: Of the same images.

    Returns:
        As `metrics_from_confusion` with shapes [B] and [B, K], with `average_precision` likewise and `ece`
        of shape [B, K + 1], the last column for all classes together; then the number left out.
    """
    classes = range(scores.shape[1])
    top, highest = scores.argmax(axis=1) == labels, scores.max(axis=1)
    # Once, not in each block: with many images blocks are many, and sorting would grow with the square.
    rankings = [ranked(scores[:, k]) for k in classes]
    bins, bins_of_highest = [equal_mass_bins(scores[:, k]) for k in classes], equal_mass_bins(highest)
    confusions, blocks = [], []
    for weights in bootstrap.image_weights():
        confusions.append(weighted_confusion(labels, decisions, weights, n_classes=len(classes)))
        sorted_images = [by_score(labels == k, scores[:, k], weights, ranking=rankings[k]) for k in classes]
        columns = [weighted_auroc(*images) for images in sorted_images]
        columns += [weighted_average_precision(*images) for images in sorted_images]
        columns += [weighted_ece(scores[:, k], labels == k, weights, bins=bins[k]) for k in classes]
        columns.append(weighted_ece(highest, top, weights, bins=bins_of_highest))
        blocks.append(np.column_stack(columns))
    confusion, areas = np.concatenate(confusions), np.concatenate(blocks)
    present = np.isin(np.arange(len(classes)), labels)
    complete = (confusion.sum(axis=2)[:, present] > 0).all(axis=1)
    auroc, precision, ece = np.split(areas[complete], [len(classes), 2 * len(classes)], axis=1)
    draws = metrics_from_confusion(confusion[complete], auroc)
    draws["per_class"]["average_precision"] = precision
    draws |= {"average_precision": mean_of_defined(precision), "ece": ece}
    return draws, int((~complete).sum())
