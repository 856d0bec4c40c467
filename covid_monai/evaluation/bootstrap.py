"""Intervals by resampling patients, since images of one patient are not independent.

`scipy.stats.bootstrap` resamples rows, not groups of rows, hence this module. A resample is a vector of
weights (how often each patient was drawn), so that confusion matrices are one matrix product and AUROC one
pass over sorted scores for all resamples together.

Reference: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval);
Field and Welsh, Bootstrapping clustered data, J R Stat Soc B 2007;69:369-390.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from covid_monai.evaluation.metrics import (
    CLASS_METRICS,
    HEADLINE_METRICS,
    Floats,
    check_shapes,
    compute_metrics,
    metrics_from_confusion,
)

# Weights of one block of resamples stay under about 16 MB.
_BLOCK_ELEMENTS = 2_000_000


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
    """`compute_metrics`, each metric with its patient-clustered percentile bootstrap interval.

    Args:
        labels: Shape [N], true class indices.
        decisions: Shape [N], decided class indices.
        probabilities: Shape [N, K].
        patients: Shape [N], patient of each image.
        class_names: K names.
        resamples: How often the patients are drawn, with replacement.
        confidence: Coverage aimed at, between 0 and 1.
        seed: Same seed, same intervals.

    Returns:
        As `compute_metrics`, each metric as `{"value", "low", "high"}`, and `bootstrap` with the settings,
        `patients`, and `skipped`: resamples left out because they drew no case of a class. `low` and
        `high` are None where the metric is undefined or rests on fewer than two patients. Where every
        resample gives the same perfect (or worst) value, resampling shows no uncertainty: there the exact
        binomial interval for as many cases as there are patients is given, and `exact` names the metric.
    """
    truth, decided, scores = check_shapes(labels, decisions, probabilities, class_names)
    values = compute_metrics(truth, decided, scores, class_names)
    names, cluster = np.unique(np.asarray(patients), return_inverse=True)
    draws, skipped = _resampled_metrics(truth, decided, scores, cluster, resamples=resamples, seed=seed)
    basis = _patients_behind(truth, decided, cluster, len(class_names))
    exact: list[str] = []

    def interval(value: float | None, sample: Floats, n_patients: int, path: str) -> dict[str, float | None]:
        low, high, is_exact = _interval(value, sample, n_patients, confidence)
        if is_exact:
            exact.append(path)
        return {"value": value, "low": low, "high": high}

    headline = {m: interval(values[m], draws[m], basis[m], m) for m in HEADLINE_METRICS}
    per_class = {
        name: {
            m: interval(
                values["per_class"][name][m],
                draws["per_class"][m][:, k],
                basis["per_class"][m][k],
                f"{name}: {m}",
            )
            for m in CLASS_METRICS
        }
        | {"support": values["per_class"][name]["support"]}
        for k, name in enumerate(class_names)
    }
    settings = {
        "unit": "patient",
        "patients": len(names),
        "resamples": resamples,
        "skipped": skipped,
        "confidence": confidence,
        "seed": seed,
        "exact": exact,
    }
    return {**values, **headline, "per_class": per_class, "bootstrap": settings}


def patient_weights(cluster: NDArray[np.int64], *, resamples: int, seed: int) -> Iterator[Floats]:
    """Weights of images when whole patients are drawn with replacement, in blocks of resamples.

    Args:
        cluster: Shape [N], patient index of each image, 0 to P - 1.
        resamples: Rows in all blocks together.
        seed: Same seed, same weights, whatever the block size.

    Yields:
        Arrays of shape [B, N]: how often the image's patient was drawn among P draws.
    """
    generator = np.random.default_rng(seed)
    n_patients = int(cluster.max()) + 1
    block = max(1, _BLOCK_ELEMENTS // len(cluster))
    for start in range(0, resamples, block):
        shape = (min(block, resamples - start), n_patients)
        drawn = generator.integers(n_patients, size=shape) + n_patients * np.arange(shape[0])[:, None]
        counts = np.bincount(drawn.ravel(), minlength=shape[0] * n_patients).reshape(shape)
        yield counts.astype(np.float64)[:, cluster]


def weighted_confusion(
    labels: NDArray[np.int64], decisions: NDArray[np.int64], weights: Floats, *, n_classes: int
) -> Floats:
    """Confusion matrices [B, K, K] of images under weights [B, N]; rows are the truth."""
    cells = np.eye(n_classes * n_classes)[labels * n_classes + decisions]
    return (weights @ cells).reshape(-1, n_classes, n_classes)


def weighted_auroc(is_case: NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    """Area under the ROC curve [B] of scores [N] under weights [B, N]; NaN without cases or without others.

    The weighted Mann-Whitney statistic: the share of pairs (case, other) in which the case scores higher,
    ties counting one half.

    >>> weighted_auroc(np.array([True, False]), np.array([0.7, 0.2]), np.ones((1, 2)))
    array([1.])
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    sorted_weights, sorted_cases = weights[:, order], is_case[order]
    cases = np.add.reduceat(np.where(sorted_cases, sorted_weights, 0), starts, axis=1)
    others = np.add.reduceat(np.where(sorted_cases, 0, sorted_weights), starts, axis=1)
    below = np.cumsum(others, axis=1) - others / 2
    pairs = cases.sum(axis=1) * others.sum(axis=1)
    return np.divide((cases * below).sum(axis=1), pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def _resampled_metrics(
    labels: NDArray[np.int64],
    decisions: NDArray[np.int64],
    scores: Floats,
    cluster: NDArray[np.int64],
    *,
    resamples: int,
    seed: int,
) -> tuple[dict[str, Any], int]:
    """Metrics of all resamples that hold every class of the sample, and the number of the others."""
    n_classes = scores.shape[1]
    confusions, aurocs = [], []
    for weights in patient_weights(cluster, resamples=resamples, seed=seed):
        confusions.append(weighted_confusion(labels, decisions, weights, n_classes=n_classes))
        aurocs.append([weighted_auroc(labels == k, scores[:, k], weights) for k in range(n_classes)])
    confusion = np.concatenate(confusions)
    present = np.isin(np.arange(n_classes), labels)
    complete = (confusion.sum(axis=2)[:, present] > 0).all(axis=1)
    auroc = np.concatenate(aurocs, axis=1).T
    return metrics_from_confusion(confusion[complete], auroc[complete]), int((~complete).sum())


def _patients_behind(
    labels: NDArray[np.int64], decisions: NDArray[np.int64], cluster: NDArray[np.int64], n_classes: int
) -> dict[str, Any]:
    """How many patients each metric rests on: those in its denominator, of the smaller group for AUROC."""

    def count(rows: NDArray[np.bool_]) -> int:
        return len(np.unique(cluster[rows]))

    classes = range(n_classes)
    cases, others = [count(labels == k) for k in classes], [count(labels != k) for k in classes]
    fewest = min(n for n in cases if n > 0)
    per_class = {
        "auroc": [min(pair) for pair in zip(cases, others, strict=True)],
        "sensitivity": cases,
        "specificity": others,
        "ppv": [count(decisions == k) for k in classes],
        "npv": [count(decisions != k) for k in classes],
        "f1": cases,
    }
    accuracy = count(np.ones(len(labels), dtype=bool))
    macro = dict.fromkeys(("auroc", "balanced_accuracy", "macro_f1"), fewest)
    return {**macro, "accuracy": accuracy, "per_class": per_class}


def _interval(
    value: float | None, sample: Floats, n_patients: int, confidence: float
) -> tuple[float | None, float | None, bool]:
    defined = sample[~np.isnan(sample)]
    # Of a metric that most resamples leave undefined, the rest are no fair picture.
    if value is None or n_patients < 2 or 2 * len(defined) < len(sample) or len(defined) == 0:
        return None, None, False
    tail = 50 * (1 - confidence)
    low, high = (float(x) for x in np.percentile(defined, [tail, 100 - tail]))
    if high - low > 1e-12:
        return low, high, False
    if value not in (0.0, 1.0):
        return None, None, False
    bounds = binomtest(round(value) * n_patients, n_patients).proportion_ci(confidence, method="exact")
    return float(bounds.low), float(bounds.high), True
