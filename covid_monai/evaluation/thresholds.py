"""One class against the rest: where its probability is cut in two, on validation data."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve


def youden_threshold(is_case: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """Threshold (score >= t is positive) of the largest Youden index, halfway between neighbouring scores.

    Of equally good cuts the one in the widest gap is taken: it is the least sensitive to small changes of
    the scores.
    """
    if is_case.all() or not is_case.any():
        return None
    fpr, tpr, cuts = roc_curve(is_case, scores, drop_intermediate=False)
    youden = np.round(tpr - fpr, 12)  # equal fractions may differ in the last bit
    # The first cut calls nothing positive and the last everything: neither is between two scores.
    best = 1 + np.flatnonzero(youden[1:-1] == youden.max())
    if youden.max() <= 0 or len(best) == 0:
        return None
    chosen = best[np.argmax(cuts[best] - cuts[best + 1])]
    return _between(cuts[chosen], cuts[chosen + 1])


def sensitivity_threshold(is_case: NDArray[np.bool_], scores: NDArray[np.float64], target: float) -> float:
    """The largest threshold (score >= t is positive) whose sensitivity is at least `target`.

    Args:
        is_case: Shape [N], with cases and others.
        scores: Shape [N].
        target: Sensitivity, 0 to 1.

    >>> round(sensitivity_threshold(np.array([False, True, True]), np.array([0.1, 0.4, 0.8]), 0.9), 3)
    0.25
    """
    _, tpr, cuts = roc_curve(is_case, scores, drop_intermediate=False)
    # At least one case, so that a target of 0 does not ask for the infinite first cut.
    first = int(np.argmax(tpr >= max(target - 1e-12, 1e-12)))
    return _between(cuts[first], cuts[first + 1]) if first + 1 < len(cuts) else float(cuts[first])


def _between(upper: float, lower: float) -> float:
    middle = (upper + lower) / 2
    # Between adjacent floats there is no middle; the upper one separates them.
    return float(middle if middle > lower else upper)
