"""How calibrated probabilities and conformal sets hold on images of another split."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.evaluation.metrics.classification_metrics import equal_mass_bins
from covid_monai.evaluation.metrics.intervals import share_with_interval
from covid_monai.evaluation.metrics.prediction_table import PredictionTable


def reliability_bins(
    rows: PredictionTable, *, resamples: int = 500, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Compute the points of a reliability diagram: mean probability and frequency in ten bins, per class.

    Args:
        rows: Images with calibrated probabilities.
        resamples: Number of resamples of the patients for the intervals.
        seed: Seed of the resamples.

    Returns:
        Class name to bins of about equally many images, by rising probability: `predicted` (mean
        probability), `observed` (share of images of the class), `low`, `high` (95 % interval of `observed`),
        `n` (images). Images of equal probability share a bin, so there may be fewer than ten.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for k, name in enumerate(rows.class_names):
        bins, found[name] = equal_mass_bins(rows.probabilities[:, k]), []
        for b in range(bins.max() + 1):
            part = rows.where(bins == b)
            # One stratum: the number of images of the class in a bin is the result, so it must vary.
            stratum = np.zeros(len(part), dtype=np.int64)
            share = share_with_interval(
                part.labels == k, stratum, part.patients, resamples=resamples, seed=seed
            )
            predicted = float(part.probabilities[:, k].mean())
            observed = {"observed": share.value, "low": share.low, "high": share.high}
            found[name].append({"predicted": predicted, **observed, "n": len(part)})
    return found


def abstention(
    rows: PredictionTable, sets: NDArray[np.bool_], *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compute how often prediction sets hold the true class, and how often they name one class.

    Args:
        rows: Images with their true classes.
        sets: Shape [N, K], from `Calibration.prediction_sets`.
        resamples: Number of resamples of the patients for the intervals.
        seed: Seed of the resamples.

    Returns:
        `coverage`, `single` (share of images with a set of one class), `accuracy_when_single`: each
        `{"value", "low", "high"}`; `empty` and `several`: shares of the images; `per_class`: name to
        `coverage`, `single`, `n` (images).
    """
    sizes = sets.sum(axis=1)
    holds, single = sets[np.arange(len(rows)), rows.labels], sizes == 1

    def share(values: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> dict[str, float | None]:
        labels, patients = rows.labels[chosen], rows.patients[chosen]
        return share_with_interval(values[chosen], labels, patients, resamples=resamples, seed=seed).to_json()

    everything = np.ones(len(rows), dtype=bool)
    own = {name: rows.labels == k for k, name in enumerate(rows.class_names)}
    return {
        "coverage": share(holds, everything),
        "single": share(single, everything),
        "accuracy_when_single": share(holds, single),
        "empty": float(np.mean(sizes == 0)),
        "several": float(np.mean(sizes > 1)),
        "per_class": {
            name: {"coverage": share(holds, of), "single": share(single, of), "n": int(of.sum())}
            for name, of in own.items()
        },
    }
