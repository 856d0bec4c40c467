"""Predictive values where a class is rarer, or more frequent, than in the test split.

PPV and NPV of a test split hold for its own mixture of classes only; a collection that is half COVID says
nothing about a ward where one image in fifty is. Sensitivity and specificity carry over (if the cases are as
severe), and Bayes' theorem does the rest: the odds after an image are the odds before it times the likelihood
ratio. The prevalence is taken as given, so that the interval is that of the likelihood ratio.

Reference: Altman and Bland, Diagnostic tests 2: predictive values, BMJ 1994;309:102.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from covid_monai.evaluation.metrics.intervals import Interval, complement, ratio_interval

PREVALENCES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def predictive_values(
    sensitivity: Mapping[str, float | None],
    specificity: Mapping[str, float | None],
    prevalences: Sequence[float] = PREVALENCES,
) -> list[dict[str, Any]]:
    """PPV and NPV of one class at each prevalence.

    Args:
        sensitivity: `value`, `low`, `high`, as in metrics.json.
        specificity: Likewise.
        prevalences: Shares of images that are of the class, between 0 and 1.

    Returns:
        Per prevalence `prevalence`, and `ppv` and `npv` as `{"value", "low", "high"}`.

    Raises:
        ValueError: If a prevalence is not between 0 and 1.

    >>> share = {"value": 0.9, "low": 0.8, "high": 0.96}
    >>> row = predictive_values(share, share, [0.01])[0]
    >>> round(row["ppv"]["value"], 3), round(row["npv"]["value"], 4)
    (0.083, 0.9989)
    """
    if not all(0 < prevalence < 1 for prevalence in prevalences):
        raise ValueError(f"Prevalences lie between 0 and 1; found {list(prevalences)}.")
    found = Interval(**sensitivity)
    spared = Interval(**specificity)
    positive = ratio_interval(found, complement(spared))
    negative = ratio_interval(complement(found), spared)
    return [
        {
            "prevalence": prevalence,
            "ppv": _after(positive, prevalence / (1 - prevalence)).to_json(),
            "npv": complement(_after(negative, prevalence / (1 - prevalence))).to_json(),
        }
        for prevalence in prevalences
    ]


def _after(ratio: Interval, odds: float) -> Interval:
    """Probability of the class after an image of this likelihood ratio."""
    return Interval(
        *(None if x is None else 1.0 if np.isinf(x) else x * odds / (1 + x * odds) for x in ratio)
    )
