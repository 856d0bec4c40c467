"""What a decision is worth in use: predictive values at other prevalences, and decision curves.

PPV and NPV hold only for the mixture of classes in a test split. Sensitivity and specificity can be carried
over to another prevalence if the cases are as severe. By Bayes' theorem, the odds after an image are the odds
before it times the likelihood ratio. The prevalence is taken as given, so the interval is that of the ratio.

Whoever treats from a probability t upwards regards one missed case as bad as (1 - t) / t false alarms. The
net benefit of a decision curve counts right alarms minus false ones at that exchange rate, per image. A model
helps at t only where its curve lies above both others. (statsmodels and scikit-learn have no decision curve.)

References: Altman and Bland, Diagnostic tests 2: predictive values, BMJ 1994;309:102; Vickers and Elkin,
Decision curve analysis, Med Decis Making 2006;26:565-574.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.evaluation.metrics.intervals import (
    Interval,
    PatientBootstrap,
    complement,
    ratio_interval,
    student_quantile,
)
from covid_monai.evaluation.metrics.prediction_table import Floats

PREVALENCES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
THRESHOLDS = tuple(np.round(np.arange(0.01, 1, 0.01), 2).tolist())


def predictive_values(
    sensitivity: Mapping[str, float | None],
    specificity: Mapping[str, float | None],
    prevalences: Sequence[float] = PREVALENCES,
) -> list[dict[str, Any]]:
    """Compute PPV and NPV of one class at each prevalence.

    Args:
        sensitivity: `value`, `low` and `high` of the sensitivity.
        specificity: `value`, `low` and `high` of the specificity.
        prevalences: Shares of images of the class, between 0 and 1.

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
        raise ValueError(f"Prevalences must lie between 0 and 1; found {list(prevalences)}.")
    sens, spec = Interval(**sensitivity), Interval(**specificity)
    positive = ratio_interval(sens, complement(spec))
    negative = ratio_interval(complement(sens), spec)
    return [
        {
            "prevalence": prevalence,
            "ppv": _after(positive, prevalence / (1 - prevalence)).to_json(),
            "npv": complement(_after(negative, prevalence / (1 - prevalence))).to_json(),
        }
        for prevalence in prevalences
    ]


def _after(ratio: Interval, odds: float) -> Interval:
    """Compute the probability of the class after an image with this likelihood ratio."""
    return Interval(
        *(None if x is None else 1.0 if np.isinf(x) else x * odds / (1 + x * odds) for x in ratio)
    )


def decision_curve(
    labels: NDArray[np.int64],
    probabilities: Floats,
    k: int,
    bootstrap: PatientBootstrap,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[str, Any]:
    """Compute the net benefit of acting on class `k`, with 95 % intervals over patients.

    The frequency of the class varies with the patients, so the intervals hold its uncertainty too. They are
    Student's, with the effective number of patients of the class or of the others, whichever is smaller.

    Args:
        labels: Shape [N], true class indices.
        probabilities: Shape [N, K]; calibrated, because the threshold is a probability.
        k: Index of the class on which one would act.
        bootstrap: Resamples of the patients of these images.
        thresholds: T probabilities between 0 and 1 from which one would act.

    Returns:
        `threshold`, `model`, `low`, `high`, `treat_all`, `treat_none`: T numbers each, at the frequency of
        the class in these images.

    Raises:
        ValueError: If a threshold is not between 0 and 1.

    >>> labels, probabilities = np.array([0, 0, 0, 1]), np.array([[0.9, 0.1]] * 3 + [[0.2, 0.8]])
    >>> curve = decision_curve(labels, probabilities, 1, PatientBootstrap(range(4)), thresholds=[0.5])
    >>> curve["model"], curve["treat_all"]
    ([0.25], [-0.5])
    """
    cuts = np.asarray(thresholds, dtype=np.float64)
    if not np.all((cuts > 0) & (cuts < 1)):
        raise ValueError(f"The thresholds of a decision curve must lie between 0 and 1; found {thresholds}.")
    price = cuts / (1 - cuts)
    is_case = labels == k
    # Contribution of each image [N, T]: 1 for a case that is found, minus the price for a false alarm.
    gain = (probabilities[:, [k]] >= cuts) * np.where(is_case[:, None], 1.0, -price)
    draws = np.concatenate([w @ gain / w.sum(axis=1, keepdims=True) for w in bootstrap.image_weights()])
    model, share = gain.mean(axis=0), is_case.mean()
    effective = min(bootstrap.effective_patients(rows) for rows in (is_case, ~is_case))
    reach = student_quantile(effective) * draws.std(axis=0, ddof=1)
    low, high = model - reach, model + reach
    return {
        "threshold": cuts.tolist(),
        "model": model.tolist(),
        "low": low.tolist() if effective > 1 else [None] * len(cuts),
        "high": high.tolist() if effective > 1 else [None] * len(cuts),
        "treat_all": (share - (1 - share) * price).tolist(),
        "treat_none": np.zeros(len(cuts)).tolist(),
    }
