"""How calibrated probabilities and conformal sets hold on images of another split."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.evaluation.metrics.classification_metrics import equal_mass_bins
from covid_monai.evaluation.metrics.intervals import PatientBootstrap, share_with_interval
from covid_monai.evaluation.metrics.prediction_table import PredictionTable


def reliability_bins(rows: PredictionTable, bootstrap: PatientBootstrap) -> dict[str, list[dict[str, Any]]]:
    """Compute the points of a reliability diagram: mean probability and frequency in ten bins, per class.

    Args:
        rows: Images with calibrated probabilities.
        bootstrap: Resamples of their patients, for the intervals.

    Returns:
        Class name to bins of about equally many images, by rising probability: `predicted` (mean
        probability), `observed` (share of images of the class), `low`, `high` (95 % interval of `observed`),
        `n` (images). Images of equal probability share a bin, so there may be fewer than ten.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for k, name in enumerate(rows.class_names):
        bins, found[name] = equal_mass_bins(rows.probabilities[:, k]), []
        for b in range(bins.max() + 1):
            among = bins == b
            share = share_with_interval(rows.labels == k, bootstrap, among=among)
            predicted = float(rows.probabilities[among, k].mean())
            observed = {"observed": share.value, "low": share.low, "high": share.high}
            found[name].append({"predicted": predicted, **observed, "n": int(among.sum())})
    return found


def abstention(rows: PredictionTable, sets: NDArray[np.bool_], bootstrap: PatientBootstrap) -> dict[str, Any]:
    """Compute how often prediction sets hold the true class, and how often they name one class.

    Args:
        rows: Images with their true classes.
        sets: Shape [N, K], from `Calibration.prediction_sets`.
        bootstrap: Resamples of their patients, for the intervals.

    Returns:
        `coverage`, `single` (share of images with a set of one class), `accuracy_when_single`: each
        `{"value", "low", "high"}`; `empty` and `several`: shares of the images; `per_class`: name to
        `coverage`, `single`, `n` (images).
    """
    sizes = sets.sum(axis=1)
    holds, single = sets[np.arange(len(rows)), rows.labels], sizes == 1

    def share(values: NDArray[np.bool_], among: NDArray[np.bool_] | None = None) -> dict[str, float | None]:
        return share_with_interval(values, bootstrap, among=among).to_json()

    own = {name: rows.labels == k for k, name in enumerate(rows.class_names)}
    return {
        "coverage": share(holds),
        "single": share(single),
        "accuracy_when_single": share(holds, single),
        "empty": float(np.mean(sizes == 0)),
        "several": float(np.mean(sizes > 1)),
        "per_class": {
            name: {"coverage": share(holds, of), "single": share(single, of), "n": int(of.sum())}
            for name, of in own.items()
        },
    }
