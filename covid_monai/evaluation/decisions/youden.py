"""Cuts of one score: by the smoothed Youden index, and by sensitivity.

Reference: Fluss, Faraggi, Reiser, Estimation of the Youden index and its associated cutoff point, Biometrical
Journal 2005;47:458-472; Youden, Index for rating diagnostic tests, Cancer 1950;3:32-35; Silverman, Density
estimation 1986, section 3.4.2.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from covid_monai.evaluation.decisions.validation_weights import (
    balanced_weights,
    effective_of_weights,
    weighted_quantile,
)
from covid_monai.evaluation.metrics.prediction_table import Floats

_NARROWEST = 0.1  # width of a kernel, in log odds; equal scores have no spread of their own


def youden_cut(
    is_case: NDArray[np.bool_],
    scores: Floats,
    patients: NDArray[Any],
    sources: NDArray[Any] | None = None,
) -> float | None:
    """Return the cut (score >= cut is positive) of the largest Youden index after Gaussian smoothing.

    Where the classes hardly overlap, the unsmoothed index is flat around its maximum, and a few images at the
    edge of each class determine the cut. With kernels as wide as Fluss et al. say, every image has an
    influence.

    Args:
        is_case: Shape [N], whether the image is of the class that a high score stands for.
        scores: Shape [N], log odds.
        patients: Shape [N], patient of each image.
        sources: Shape [N], source of each image, which count equally within a class; None: one source.

    Returns:
        The cut; None if a class is missing, or no cut is better than none.
    """
    if is_case.all() or not is_case.any():
        return None
    weights = balanced_weights(is_case, patients, sources)
    fpr, tpr, _ = _roc_curve(is_case, scores, sample_weight=weights)
    if np.max(tpr - fpr) <= 0:
        return None
    cuts = np.linspace(scores.min(), scores.max(), 1001)
    below = []
    for rows in (~is_case, is_case):
        own, shares = scores[rows], weights[rows] / weights[rows].sum()
        effective = effective_of_weights(shares, patients[rows])
        width = kernel_width(own, shares, effective, None if sources is None else sources[rows])
        below.append(ndtr((cuts[:, None] - own) / width) @ shares)
    youden = below[0] - below[1]
    # Between two classes that are far apart the index has a plateau; its middle is the safest cut.
    plateau = np.flatnonzero(youden >= youden.max() - 1e-9)
    return float(cuts[plateau].mean())


def kernel_width(
    scores: Floats, weights: Floats, effective: float, sources: NDArray[Any] | None = None
) -> float:
    """Return the width of the Gaussian kernels of one class: 0.9 min(deviation, IQR / 1.34) n^(-1/5).

    The spread is that within the sources: the differences between their means belong to no image, and would
    make the kernels so wide that the cut forgets the images.

    >>> scores, sources = np.array([0.0, 1, 2, 10, 11, 12]), np.array(list("aaabbb"))
    >>> round(kernel_width(scores, np.full(6, 1 / 6), 6, sources), 3)
    0.514
    """
    centred = scores.copy()
    for source in np.unique(sources) if sources is not None else [None]:
        rows = slice(None) if source is None else sources == source
        centred[rows] -= np.average(scores[rows], weights=weights[rows])
    deviation = np.sqrt(np.average(centred**2, weights=weights))
    lower, upper = weighted_quantile(centred, weights, (0.25, 0.75))
    # Where half of the scores are equal the quartiles tell no spread.
    spread = min(deviation, (upper - lower) / 1.34) or deviation
    return float(max(0.9 * spread * effective**-0.2, _NARROWEST))


def sensitivity_threshold(
    is_case: NDArray[np.bool_], scores: Floats, target: float, weights: Floats | None = None
) -> float:
    """Return the largest threshold (score >= t is positive) whose sensitivity is at least `target`.

    >>> round(sensitivity_threshold(np.array([False, True, True]), np.array([0.1, 0.4, 0.8]), 0.9), 3)
    0.25
    """
    _, tpr, cuts = _roc_curve(is_case, scores, drop_intermediate=False, sample_weight=weights)
    # At least one case must be found; otherwise a target of 0 would select the infinite first cut.
    first = int(np.argmax(tpr >= max(target - 1e-12, 1e-12)))
    lower = cuts[first + 1] if first + 1 < len(cuts) else cuts[first]
    middle = (cuts[first] + lower) / 2
    # Between adjacent floats there is no middle; the upper one separates them.
    return float(middle if middle > lower else cuts[first])


def _roc_curve(
    is_case: NDArray[np.bool_],
    scores: Floats,
    *,
    sample_weight: Floats | None = None,
    drop_intermediate: bool = True,
) -> tuple[Floats, Floats, Floats]:
    from sklearn.metrics import roc_curve  # takes half a second, which a prediction does not need

    found: tuple[Floats, Floats, Floats]
    found = roc_curve(is_case, scores, sample_weight=sample_weight, drop_intermediate=drop_intermediate)
    return found
