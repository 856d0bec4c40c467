"""Metrics of one set of images, and the same metrics for many weightings of the images at once.

An undefined metric is None, never a guess. The bootstrap needs the metrics for a thousand weightings.
scikit-learn takes one `sample_weight` per call, so that a dozen metrics would take minutes. The tests compare
every metric here with scikit-learn's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_monai.evaluation.metrics.prediction_table import Floats

HEADLINE_METRICS = ("auroc", "balanced_accuracy", "macro_f1", "accuracy")
CLASS_METRICS = ("auroc", "sensitivity", "specificity", "ppv", "npv", "f1")
# In addition: agreement beyond chance, likelihood ratios, and the quality of the probabilities.
MORE_HEADLINE_METRICS = ("kappa", "average_precision", "brier", "log_loss", "ece")
MORE_CLASS_METRICS = ("lr_positive", "lr_negative", "average_precision", "brier", "ece")
ECE_BINS = 10
# Half of the last of the six decimals in predictions.csv: a zero there is not certainty.
SMALLEST_PROBABILITY = 5e-7


def compute_metrics(
    labels: ArrayLike, decisions: ArrayLike, probabilities: ArrayLike, class_names: Sequence[str]
) -> dict[str, Any]:
    """Compute the metrics of one set of images.

    Args:
        labels: Shape [N], true class indices.
        decisions: Shape [N], decided class indices.
        probabilities: Shape [N, K].
        class_names: K names.

    Returns:
        `auroc`, `average_precision` (macro, one class against the rest), `balanced_accuracy`, `macro_f1`,
        `accuracy`, `kappa` (Cohen's), `brier` (half the squared distance to the truth, 0 to 1), `log_loss`
        (natural logarithm), `ece` (of the largest probability, see `weighted_ece`); `per_class`: name to
        `auroc`, `sensitivity`, `specificity`, `ppv`, `npv`, `f1`, `lr_positive`, `lr_negative`,
        `average_precision`, `brier`, `ece`, `support`; `confusion_matrix` (rows: truth, columns: decision),
        `n`, `classes_without_cases`. Plain Python values; an undefined metric is None. Macro values are
        means over the classes that have cases.

    Raises:
        ValueError: If there are no images or the shapes do not fit.
    """
    truth, decided, scores = check_shapes(labels, decisions, probabilities, class_names)
    parts = WeightedMetrics(truth, decided, scores).measure(np.ones((1, len(truth))))
    confusion, auroc, precision, ece = (part[0] for part in parts)
    support = confusion.sum(axis=1).astype(int)
    occurs = support > 0
    errors = squared_errors(truth, scores)
    values = metrics_from_confusion(confusion, auroc, occurs=occurs)
    per_class = values.pop("per_class") | {
        "average_precision": precision,
        "brier": np.where(occurs, errors.mean(axis=0), np.nan),
        "ece": np.where(occurs, ece[:-1], np.nan),
    }
    values |= {
        "average_precision": macro(precision, occurs),
        "brier": errors.sum(axis=1).mean() / 2,
        "log_loss": log_losses(truth, scores).mean(),
        "ece": ece[-1],
    }
    return {
        "n": len(truth),
        **{metric: _none_if_nan(value) for metric, value in values.items()},
        "per_class": {
            name: {metric: _none_if_nan(of_classes[k]) for metric, of_classes in per_class.items()}
            | {"support": int(support[k])}
            for k, name in enumerate(class_names)
        },
        "confusion_matrix": confusion.astype(int).tolist(),
        "classes_without_cases": [name for k, name in enumerate(class_names) if support[k] == 0],
    }


def check_shapes(
    labels: ArrayLike, decisions: ArrayLike, probabilities: ArrayLike, class_names: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return arrays of shape [N], [N] and [N, K], or raise ValueError if they do not fit together."""
    truth, decided = np.asarray(labels, dtype=np.int64), np.asarray(decisions, dtype=np.int64)
    scores = np.asarray(probabilities, dtype=np.float64)
    if len(truth) == 0:
        raise ValueError("Metrics cannot be computed: there are no images.")
    if decided.shape != truth.shape or scores.shape != (len(truth), len(class_names)):
        raise ValueError(
            f"{len(truth)} labels and {len(class_names)} classes do not fit decisions of shape "
            f"{decided.shape} and probabilities of shape {scores.shape}."
        )
    return truth, decided, scores


class WeightedMetrics:
    """Metrics of N images under many weightings at once; the images are sorted only once."""

    def __init__(self, labels: NDArray[np.int64], decisions: NDArray[np.int64], scores: Floats) -> None:
        self._labels, self._decisions, self._columns = labels, decisions, scores.T
        self._top, self._correct = scores.max(axis=1), scores.argmax(axis=1) == labels
        self._rankings = [ranked(column) for column in self._columns]
        self._bins = [equal_mass_bins(column) for column in self._columns]
        self._top_bins = equal_mass_bins(self._top)

    def measure(self, weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Compute the metrics of B weightings [B, N].

        Returns:
            Confusion matrices [B, K, K], AUROC [B, K], average precision [B, K], and expected calibration
            errors [B, K + 1], the last for the largest probability.
        """
        confusion = weighted_confusion(self._labels, self._decisions, weights, n_classes=len(self._columns))
        aurocs, precisions, errors = [], [], []
        for k, scores in enumerate(self._columns):
            is_case = self._labels == k
            images = by_score(is_case, self._rankings[k], weights)
            aurocs.append(weighted_auroc(*images))
            precisions.append(weighted_average_precision(*images))
            errors.append(weighted_ece(scores, is_case, weights, self._bins[k]))
        errors.append(weighted_ece(self._top, self._correct, weights, self._top_bins))
        return confusion, np.column_stack(aurocs), np.column_stack(precisions), np.column_stack(errors)


def metrics_from_confusion(confusion: Floats, auroc: Floats, *, occurs: NDArray[np.bool_]) -> dict[str, Any]:
    """Compute every metric from confusion matrices [..., K, K] (rows: truth) and AUROC per class [..., K].

    `occurs` [K] tells which classes the images have: a resample of them may lack one. The headline metrics
    and `kappa` have the shape [...], those in `per_class` [..., K]. NaN where undefined: a ratio with
    denominator 0, and all but specificity of a class that does not occur.

    >>> both = np.array([True, True])
    >>> values = metrics_from_confusion(np.array([[8.0, 2.0], [1.0, 9.0]]), np.array([0.9, 0.9]), occurs=both)
    >>> values["per_class"]["sensitivity"], values["balanced_accuracy"].round(3)
    (array([0.8, 0.9]), np.float64(0.85))
    """
    total = confusion.sum(axis=(-2, -1))[..., None]
    true_positive = np.diagonal(confusion, axis1=-2, axis2=-1)
    cases, decided = confusion.sum(axis=-1), confusion.sum(axis=-2)
    true_negative = total - cases - decided + true_positive
    # Without cases of a class, its predictive values and F1 mean nothing, although 0 / n can be computed.
    meaning = np.where(occurs, 1.0, np.nan)
    sensitivity = ratio_or_nan(true_positive, cases)
    specificity = ratio_or_nan(true_negative, total - cases)
    per_class = {
        "auroc": auroc,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": ratio_or_nan(true_positive, decided) * meaning,
        "npv": ratio_or_nan(true_negative, total - decided) * meaning,
        "f1": ratio_or_nan(2 * true_positive, cases + decided) * meaning,
        "lr_positive": ratio_or_nan(sensitivity, 1 - specificity),
        "lr_negative": ratio_or_nan(1 - sensitivity, specificity),
    }
    accuracy = ratio_or_nan(true_positive.sum(axis=-1), total[..., 0])
    by_chance = ratio_or_nan((cases * decided).sum(axis=-1), total[..., 0] ** 2)
    return {
        "auroc": macro(auroc, occurs),
        "balanced_accuracy": macro(sensitivity, occurs),
        "macro_f1": macro(per_class["f1"], occurs),
        "accuracy": accuracy,
        "kappa": ratio_or_nan(accuracy - by_chance, 1 - by_chance),
        "per_class": per_class,
    }


def ratio_or_nan(numerator: Floats, denominator: Floats) -> Floats:
    """Divide elementwise; NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def macro(values: Floats, occurs: NDArray[np.bool_]) -> Floats:
    """Return the mean over the classes [K] that occur; NaN where the value of one of them is undefined."""
    return np.asarray(values[..., occurs].mean(axis=-1))


def _none_if_nan(value: float | np.floating[Any]) -> float | None:
    """Return a Python float, or None for NaN, which JSON does not have."""
    return None if np.isnan(value) else float(value)


def weighted_confusion(
    labels: NDArray[np.int64], decisions: NDArray[np.int64], weights: Floats, *, n_classes: int
) -> Floats:
    """Compute confusion matrices [B, K, K] of images under weights [B, N]; rows are the truth."""
    cells = np.eye(n_classes * n_classes)[labels * n_classes + decisions]
    return np.asarray(weights @ cells).reshape(-1, n_classes, n_classes)


def ranked(scores: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ascending order of N scores, and the places in it where each different score starts."""
    order = np.argsort(scores, kind="stable")
    return order, np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])


def by_score(
    is_case: NDArray[np.bool_], ranking: tuple[NDArray[np.int64], NDArray[np.int64]], weights: Floats
) -> tuple[Floats, Floats]:
    """Sum weights [B, N] of cases and of others at each of S different scores, ascending: [B, S] each.

    `ranking` is `ranked(scores)`: sorting the scores for every block would take longer than the rest.
    """
    order, starts = ranking
    both = weights[:, order]
    cases = np.add.reduceat(both * is_case[order], starts, axis=1)
    return cases, np.add.reduceat(both, starts, axis=1) - cases


def weighted_auroc(cases: Floats, others: Floats) -> Floats:
    """Compute the area under the ROC curve [B] from `by_score`; NaN without cases or without others.

    The weighted Mann-Whitney statistic: the share of pairs (case, other) in which the case scores higher,
    ties counting one half.

    >>> weighted_auroc(*by_score(np.array([True, False]), ranked(np.array([0.7, 0.2])), np.ones((1, 2))))
    array([1.])
    """
    below = np.cumsum(others, axis=1) - others / 2
    return ratio_or_nan(np.einsum("bs,bs->b", cases, below), cases.sum(axis=1) * others.sum(axis=1))


def weighted_average_precision(cases: Floats, others: Floats) -> Floats:
    """Compute average precision [B], the mean precision at the cases, from `by_score`; NaN without cases."""
    found = np.cumsum(cases[:, ::-1], axis=1)
    called = found + np.cumsum(others[:, ::-1], axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return ratio_or_nan(np.einsum("bs,bs->b", cases[:, ::-1], precision), cases.sum(axis=1))


def weighted_ece(
    probabilities: Floats, outcomes: NDArray[np.bool_], weights: Floats, bins: NDArray[np.int64]
) -> Floats:
    """Compute the expected calibration error [B]: mean distance of probability and frequency over ten bins.

    The bins hold about equally many images (by unweighted quantiles), so that none is empty where the network
    is certain of most images. netcal's `ECE(10, equal_intervals=False)` is the same number.

    Args:
        probabilities: Shape [N], in [0, 1].
        outcomes: Shape [N], True where the prediction with this probability was right.
        weights: Shape [B, N].
        bins: Result of `equal_mass_bins(probabilities)`.

    Reference: Nguyen and O'Connor, Posterior calibration and exploratory analysis, EMNLP 2015.
    """
    members = np.eye(bins.max() + 1)[bins] * (outcomes - probabilities)[:, None]
    return np.asarray(np.abs(weights @ members).sum(axis=1) / weights.sum(axis=1))


def equal_mass_bins(probabilities: Floats) -> NDArray[np.int64]:
    """Return the bin of each of N probabilities, 0 to at most `ECE_BINS` - 1; equal ones share a bin."""
    edges = np.unique(np.quantile(probabilities, np.arange(1, ECE_BINS) / ECE_BINS))
    return np.unique(np.searchsorted(edges, probabilities), return_inverse=True)[1].astype(np.int64)


def squared_errors(labels: NDArray[np.int64], probabilities: Floats) -> Floats:
    """Compute squared distances [N, K] of probabilities to the truth; half a row's sum is the Brier score."""
    return (probabilities - np.eye(probabilities.shape[1])[labels]) ** 2


def log_losses(labels: NDArray[np.int64], probabilities: Floats) -> Floats:
    """Compute the negative natural logarithm [N] of the probability of the true class."""
    of_truth = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.maximum(of_truth, SMALLEST_PROBABILITY))
