"""Do images of probability 0.8 come true in 8 of 10 cases? The points of a reliability diagram."""

from typing import Any

import numpy as np

from covid_monai.evaluation.metrics.predictions import Predictions
from covid_monai.evaluation.metrics.resampling import share_with_interval
from covid_monai.evaluation.metrics.weighted import equal_mass_bins


def reliability_bins(
    rows: Predictions, *, resamples: int = 500, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Mean probability and frequency in ten bins of equally many images each, per class.

    Args:
        rows: Images with calibrated probabilities.
        resamples: How often the patients are drawn for the intervals.
        seed: Same seed, same intervals.

    Returns:
        Class name to bins, by rising probability: `predicted` (mean probability), `observed` (share of
        images of the class), `low`, `high` (95 % interval of `observed`), `n` (images). Images of equal
        probability share a bin, so that there may be fewer than ten.
    """
    found = {}
    for k, name in enumerate(rows.class_names):
        probabilities, is_case = rows.probabilities[:, k], rows.labels == k
        bins = equal_mass_bins(probabilities)
        found[name] = [
            {
                "predicted": float(probabilities[bins == b].mean()),
                **_observed(rows.where(bins == b), is_case[bins == b], resamples=resamples, seed=seed),
                "n": int(np.sum(bins == b)),
            }
            for b in range(bins.max() + 1)
        ]
    return found


def _observed(rows: Predictions, is_case: Any, *, resamples: int, seed: int) -> dict[str, float | None]:
    # One stratum: how many images of a bin are of the class is what is asked, not what is given.
    share = share_with_interval(
        is_case, np.zeros(len(rows), dtype=np.int64), rows.patients, resamples=resamples, seed=seed
    )
    return {"observed": share.value, "low": share.low, "high": share.high}
