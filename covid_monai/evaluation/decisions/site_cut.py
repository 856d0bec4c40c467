"""The cut of a class for one hospital, from the scores of its own patients, with an exact guarantee.

A score is log p(class) - log p(normal); an image is called if its score reaches the cut. With n patients of
the hospital the cut is placed so that k of them are called, with the largest k for which

    P(Binomial(n, limit) <= k) <= 1 - confidence.

Then the share of all patients of this kind that are called is at most the limit, with that confidence: it is
the upper limit of Clopper and Pearson for k of n, and Wilks's tolerance limit for order statistics. It
assumes nothing about the distribution of the scores. Ties only make the share smaller, because images with
the score of a patient who may not be called are not called either.

With normal patients the limit is the false alarm rate. Without labels it is the false alarm rate times a
lower bound of the share of normal patients: if at most 0.05 s of all patients are called, and a share s or
more of them is normal, then at most 5 % of the normal ones are called, even if every call is one of these.

References: Clopper and Pearson, The use of confidence or fiducial limits illustrated in the case of the
binomial, Biometrika 1934;26:404-413; Wilks, Determination of sample sizes for setting tolerance limits, Ann
Math Stat 1941;12:91-96; Tong, Feng and Zhao, Neyman-Pearson classification algorithms and NP receiver
operating characteristics, Sci Adv 2018;4:eaao1659.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta, binom

CONFIDENCE = 0.95
_STEPS = 10_000  # cuts are multiples of 0.0001


def patients_needed(limit: float) -> int:
    """Return the smallest number of patients with which a cut can be set: none of them is above it.

    >>> patients_needed(0.05)
    59
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-limit) - 1e-9)


@cache
def allowed_calls(n_patients: int, limit: float) -> int | None:
    """Return how many of the patients may be called; None if there are too few of them for any cut.

    >>> [allowed_calls(n, 0.05) for n in (58, 59, 92, 93, 124, 153, 181)]
    [None, 0, 0, 1, 2, 3, 4]
    """
    first = int(binom.ppf(1 - CONFIDENCE, n_patients, limit))  # of a cumulative share of this or more
    allowed = first if binom.cdf(first, n_patients, limit) <= 1 - CONFIDENCE else first - 1
    return allowed if n_patients and allowed >= 0 else None


def choose_site_cut(scores: ArrayLike, limit: float) -> float | None:
    """Return the smallest cut of 0 or more that holds the limit; None if there are too few patients.

    Args:
        scores: Shape [N], one score for each patient, as a prediction computes it.
        limit: Largest share of such patients that may be called.

    Returns:
        A multiple of 0.0001 above the score of the first patient who may not be called, so that differences
        between computers, which are far smaller, do not lift this patient over the cut.

    >>> choose_site_cut([0.5] * 30 + [1.25] * 29, 0.05), choose_site_cut([0.5] * 58, 0.05)
    (1.2501, None)
    """
    values = np.sort(np.asarray(scores, dtype=np.float64))[::-1]
    allowed = allowed_calls(len(values), limit)
    if allowed is None:
        return None
    below = math.floor(round(float(values[allowed]), 6) * _STEPS + 1e-3)
    return max(0.0, (below + 1) / _STEPS)


def exact_share(called: int, n_patients: int) -> dict[str, float | None]:
    """Return a share of patients with its exact 95 % interval (Clopper and Pearson); None without patients.

    >>> {key: round(value, 3) for key, value in exact_share(0, 59).items()}
    {'value': 0.0, 'low': 0.0, 'high': 0.061}
    """
    if n_patients == 0:
        return {"value": None, "low": None, "high": None}
    tail = (1 - CONFIDENCE) / 2
    low = beta.ppf(tail, called, n_patients - called + 1) if called else 0.0
    high = beta.ppf(1 - tail, called + 1, n_patients - called) if called < n_patients else 1.0
    return {"value": called / n_patients, "low": float(low), "high": float(high)}


def upper_limit(called: int, n_patients: int) -> float:
    """Return the share of patients that is exceeded with a probability of 5 % at most (one-sided).

    >>> round(upper_limit(0, 59), 4), round(upper_limit(4, 181), 4)
    (0.0495, 0.0499)
    """
    return 1.0 if called >= n_patients else float(beta.ppf(CONFIDENCE, called + 1, n_patients - called))
