"""Decision curves: is acting on the model better than acting on everybody, or on nobody?

Who treats from a probability t upwards holds one missed case as bad as (1 - t) / t false alarms. At that
exchange rate the net benefit counts right alarms less false ones, per image. A model helps at t only where
its curve lies above both others. (statsmodels and scikit-learn have no decision curve.)

Reference: Vickers and Elkin, Decision curve analysis, Med Decis Making 2006;26:565-574.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.evaluation.metrics.resampling import PatientBootstrap
from covid_monai.evaluation.metrics.weighted import Floats

THRESHOLDS = tuple(np.round(np.arange(0.01, 1, 0.01), 2).tolist())


def decision_curve(
    labels: NDArray[np.int64],
    probabilities: Floats,
    patients: NDArray[Any],
    k: int,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    resamples: int = 300,
    seed: int = 0,
) -> dict[str, Any]:
    """Net benefit of calling class `k`, with 95 % percentile intervals over resampled patients.

    Args:
        labels: Shape [N], true class indices.
        probabilities: Shape [N, K]; calibrated ones, since the threshold is a probability.
        patients: Shape [N].
        k: The class that is acted on.
        thresholds: T probabilities between 0 and 1 at which somebody would act.
        resamples: How often the patients are drawn.
        seed: Same seed, same intervals.

    Returns:
        `threshold`, `model`, `low`, `high`, `treat_all`, `treat_none`: T numbers each. The frequency of the
        class is that of the images.

    Raises:
        ValueError: If a threshold is not between 0 and 1.

    >>> labels, probabilities = np.array([0, 0, 0, 1]), np.array([[0.9, 0.1]] * 3 + [[0.2, 0.8]])
    >>> curve = decision_curve(labels, probabilities, np.arange(4), 1, thresholds=[0.5])
    >>> curve["model"], curve["treat_all"]
    ([0.25], [-0.5])
    """
    cuts = np.asarray(thresholds, dtype=np.float64)
    if not np.all((cuts > 0) & (cuts < 1)):
        raise ValueError(f"A threshold of a decision curve lies between 0 and 1; found {thresholds}.")
    price = cuts / (1 - cuts)
    is_case = labels == k
    # What one image adds [N, T]: 1 if it is a case that is called, minus the price if it is a false alarm.
    gain = (probabilities[:, [k]] >= cuts) * np.where(is_case[:, None], 1.0, -price)
    bootstrap = PatientBootstrap(labels, patients, resamples=resamples, seed=seed)
    draws = np.concatenate([w @ gain / w.sum(axis=1, keepdims=True) for w in bootstrap.image_weights()])
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    share = is_case.mean()
    return {
        "threshold": cuts.tolist(),
        "model": gain.mean(axis=0).tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "treat_all": (share - (1 - share) * price).tolist(),
        "treat_none": np.zeros(len(cuts)).tolist(),
    }
