"""Sets of classes instead of one class: what cannot be excluded, and how well that holds on other images.

MAPIE's `SplitConformalClassifier` (conformity score "lac") fitted on the images of one class alone gives the
same threshold for that class; the tests hold ours against it. It is not used here because it keeps scores in
an estimator, not thresholds that can be written to a file, and counts images, not patients.

Reference: Sadinle, Lei and Wasserman, Least ambiguous set-valued classifiers with bounded error levels, J Am
Stat Assoc 2019;114:223-234; Vovk, Conditional validity of inductive conformal predictors, Machine Learning
2013;92:349-376; Lee, Barber and Willett, Distribution-free inference with hierarchical data,
arXiv:2306.06342 (several images of one patient).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.evaluation.metrics.predictions import Predictions
from covid_monai.evaluation.metrics.weighted import Floats


def conformal_threshold(of_true_class: Floats, patients: NDArray[Any], coverage: float) -> float:
    """The smallest probability that still speaks for a class: the (n + 1)-corrected quantile of its images.

    Args:
        of_true_class: Shape [N], the probability of the true class, for images of one class.
        patients: Shape [N]; each patient weighs the same, whatever the number of images.
        coverage: Share of such images that are to lie at or above the threshold.

    Returns:
        From 0 to 1; 0 where there are too few patients to promise the coverage.

    >>> round(conformal_threshold(np.linspace(0.5, 1, 19), np.arange(19), 0.9), 3)
    0.528
    """
    names, inverse, images = np.unique(patients, return_inverse=True, return_counts=True)
    order = np.argsort(-of_true_class, kind="stable")
    reached = np.cumsum((1 / images[inverse] / (len(names) + 1))[order])
    enough = np.flatnonzero(reached >= coverage - 1e-9)  # sums of fractions miss a limit by rounding
    return float(of_true_class[order[enough[0]]]) if len(enough) else 0.0


def conformal_notes(cases: Mapping[str, int], coverage: float) -> list[str]:
    """A sentence per class whose number of validation patients cannot promise the coverage."""
    needed = int(np.ceil(coverage / (1 - coverage) - 1e-9))
    return [
        f"{name} has {n} validation patients; fewer than {needed} cannot promise {coverage:.0%}, so {name} "
        "is in every set."
        for name, n in cases.items()
        if n < needed
    ]


def abstention(
    rows: Predictions, sets: NDArray[np.bool_], *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """How often prediction sets hold the truth, and how often they name one class.

    Args:
        rows: Images with their true classes.
        sets: Shape [N, K], from `Calibration.prediction_sets`.
        resamples: How often the patients are drawn for the intervals.
        seed: Same seed, same intervals.

    Returns:
        `coverage`, `single` (share of images with a set of one class), `accuracy_when_single`: each
        `{"value", "low", "high"}`; `empty` and `several`: shares of the images; `per_class`: name to
        `coverage`, `single`, `n` (images).
    """
    # Here: statsmodels brings pandas, and a prediction comes by this module too.
    from covid_monai.evaluation.metrics.resampling import share_with_interval

    sizes = sets.sum(axis=1)
    holds, single = sets[np.arange(len(rows)), rows.labels], sizes == 1

    def share(values: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> dict[str, float | None]:
        found = share_with_interval(
            values[chosen], rows.labels[chosen], rows.patients[chosen], resamples=resamples, seed=seed
        )
        return found.to_json()

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
