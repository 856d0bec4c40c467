"""One class against the rest: where its probability is cut in two, on validation data."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr

_SMALLEST = 1e-6  # probabilities nearer to 0 or 1 count as this
_NARROWEST = 0.1  # of a kernel, in log odds: equal scores have no spread of their own


def youden_threshold(is_case: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """Threshold (score >= t is positive) of the largest Youden index after Gaussian smoothing.

    Where the classes hardly overlap, the unsmoothed index is flat around its maximum, and the images at the
    edge of each class, a handful, move the threshold at will. Kernels over the log odds, as wide as
    Scott's rule says, let every image count.

    Args:
        is_case: Shape [N].
        scores: Shape [N], probabilities.

    Returns:
        The threshold; None if a class is missing, or no cut is better than none.

    Reference: Fluss, Faraggi, Reiser, Estimation of the Youden index and its associated cutoff point,
    Biometrical Journal 2005;47:458-472.
    """
    if is_case.all() or not is_case.any():
        return None
    fpr, tpr, _ = _roc_curve(is_case, scores)
    if np.max(tpr - fpr) <= 0:
        return None
    log_odds = logit(np.clip(scores, _SMALLEST, 1 - _SMALLEST))
    cuts = np.linspace(log_odds.min(), log_odds.max(), 1001)
    youden = _smooth_cdf(log_odds[~is_case], cuts) - _smooth_cdf(log_odds[is_case], cuts)
    # Far apart classes leave a plateau: its middle is the safest.
    plateau = np.flatnonzero(youden >= youden.max() - 1e-9)
    return float(expit(cuts[plateau].mean()))


def _roc_curve(
    is_case: NDArray[np.bool_], scores: NDArray[np.float64], **options: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    from sklearn.metrics import roc_curve  # half a second, for which no prediction should wait

    found: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    found = roc_curve(is_case, scores, **options)
    return found


def _smooth_cdf(values: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    width = max(values.std(), _NARROWEST) * len(values) ** -0.2
    smooth: NDArray[np.float64] = ndtr((at[:, None] - values) / width).mean(axis=1)
    return smooth


def sensitivity_threshold(is_case: NDArray[np.bool_], scores: NDArray[np.float64], target: float) -> float:
    """The largest threshold (score >= t is positive) whose sensitivity is at least `target`.

    Args:
        is_case: Shape [N], with cases and others.
        scores: Shape [N].
        target: Sensitivity, 0 to 1.

    >>> round(sensitivity_threshold(np.array([False, True, True]), np.array([0.1, 0.4, 0.8]), 0.9), 3)
    0.25
    """
    _, tpr, cuts = _roc_curve(is_case, scores, drop_intermediate=False)
    # At least one case, so that a target of 0 does not ask for the infinite first cut.
    first = int(np.argmax(tpr >= max(target - 1e-12, 1e-12)))
    return _between(cuts[first], cuts[first + 1]) if first + 1 < len(cuts) else float(cuts[first])


def _between(upper: float, lower: float) -> float:
    middle = (upper + lower) / 2
    # Between adjacent floats there is no middle; the upper one separates them.
    return float(middle if middle > lower else upper)
