"""Figures of merit from labels, decisions and probabilities; undefined ones are None, never a guess."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix, roc_auc_score

HEADLINE_METRICS = ("auroc", "balanced_accuracy", "macro_f1", "accuracy")
CLASS_METRICS = ("auroc", "sensitivity", "specificity", "ppv", "npv", "f1")

Floats = NDArray[np.float64]


def compute_metrics(
    labels: ArrayLike, decisions: ArrayLike, probabilities: ArrayLike, class_names: Sequence[str]
) -> dict[str, Any]:
    """Metrics of one set of images.

    Args:
        labels: Shape [N], true class indices.
        decisions: Shape [N], decided class indices.
        probabilities: Shape [N, K].
        class_names: K names.

    Returns:
        `auroc` (macro, one class against the rest), `balanced_accuracy`, `macro_f1`, `accuracy`;
        `per_class`: name to `auroc`, `sensitivity`, `specificity`, `ppv`, `npv`, `f1`, `support`;
        `confusion_matrix` (rows: truth, columns: decision), `n`, `classes_without_cases`. Plain Python
        values; an undefined metric is None. Macro values are means over the classes that have cases.

    Raises:
        ValueError: If there are no images or the shapes do not fit.
    """
    truth, decided, scores = check_shapes(labels, decisions, probabilities, class_names)
    n_classes = len(class_names)
    confusion = confusion_matrix(truth, decided, labels=range(n_classes))
    auroc = np.array([_auroc(truth == k, scores[:, k]) for k in range(n_classes)])
    values = metrics_from_confusion(confusion.astype(np.float64), auroc)
    support = confusion.sum(axis=1)
    return {
        "n": len(truth),
        **{metric: none_if_nan(values[metric]) for metric in HEADLINE_METRICS},
        "per_class": {
            name: {metric: none_if_nan(values["per_class"][metric][k]) for metric in CLASS_METRICS}
            | {"support": int(support[k])}
            for k, name in enumerate(class_names)
        },
        "confusion_matrix": confusion.tolist(),
        "classes_without_cases": [name for k, name in enumerate(class_names) if support[k] == 0],
    }


def check_shapes(
    labels: ArrayLike, decisions: ArrayLike, probabilities: ArrayLike, class_names: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """The same as arrays of shape [N], [N] and [N, K], or ValueError if they do not fit together."""
    truth, decided = np.asarray(labels, dtype=np.int64), np.asarray(decisions, dtype=np.int64)
    scores = np.asarray(probabilities, dtype=np.float64)
    if len(truth) == 0:
        raise ValueError("Metrics of no images are undefined.")
    if decided.shape != truth.shape or scores.shape != (len(truth), len(class_names)):
        raise ValueError(
            f"{len(truth)} labels and {len(class_names)} classes do not fit decisions of shape "
            f"{decided.shape} and probabilities of shape {scores.shape}."
        )
    return truth, decided, scores


def _auroc(is_case: NDArray[np.bool_], scores: Floats) -> float:
    if is_case.all() or not is_case.any():
        return float("nan")
    return float(roc_auc_score(is_case, scores))


def metrics_from_confusion(confusion: Floats, auroc: Floats) -> dict[str, Any]:
    """Every metric from confusion matrices, for one set of images or for many resamples of it at once.

    Args:
        confusion: Shape [..., K, K], rows are the truth; counts or sums of weights.
        auroc: Shape [..., K], per class; NaN where undefined.

    Returns:
        The headline metrics with shape [...], and `per_class` with shape [..., K] per metric. NaN where
        undefined: a ratio without cases, and all but specificity of a class without cases.

    >>> values = metrics_from_confusion(np.array([[8.0, 2.0], [1.0, 9.0]]), np.array([0.9, 0.9]))
    >>> values["per_class"]["sensitivity"], values["balanced_accuracy"].round(3)
    (array([0.8, 0.9]), np.float64(0.85))
    """
    total = confusion.sum(axis=(-2, -1))[..., None]
    true_positive = np.diagonal(confusion, axis1=-2, axis2=-1)
    cases, decided = confusion.sum(axis=-1), confusion.sum(axis=-2)
    true_negative = total - cases - decided + true_positive
    # Without cases of a class its predictive values and F1 describe nothing, though 0 / n can be written.
    occurs = np.where(cases > 0, 1.0, np.nan)
    per_class = {
        "auroc": auroc,
        "sensitivity": _ratio(true_positive, cases),
        "specificity": _ratio(true_negative, total - cases),
        "ppv": _ratio(true_positive, decided) * occurs,
        "npv": _ratio(true_negative, total - decided) * occurs,
        "f1": _ratio(2 * true_positive, cases + decided) * occurs,
    }
    return {
        "auroc": _mean_of_defined(auroc),
        "balanced_accuracy": _mean_of_defined(per_class["sensitivity"]),
        "macro_f1": _mean_of_defined(per_class["f1"]),
        "accuracy": _ratio(true_positive.sum(axis=-1), total[..., 0]),
        "per_class": per_class,
    }


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def _mean_of_defined(values: Floats) -> Floats:
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1))


def none_if_nan(value: float | np.floating[Any]) -> float | None:
    """Python float, or None for NaN: JSON has no NaN."""
    return None if np.isnan(value) else float(value)
