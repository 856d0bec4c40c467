"""How calibrated probabilities and conformal sets hold on images of another split or source."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from covid_monai.evaluation.metrics.classification_metrics import SMALLEST_PROBABILITY, equal_mass_bins
from covid_monai.evaluation.metrics.intervals import (
    Interval,
    PatientBootstrap,
    share_with_interval,
    student_quantile,
)
from covid_monai.evaluation.metrics.prediction_table import Floats, PredictionTable


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


def ece_by_chance(probabilities: Floats, bootstrap: PatientBootstrap) -> Interval:
    """Compute the calibration error that perfectly calibrated probabilities would show on as many images.

    The expected calibration error is never 0: in each bin the frequency differs from the probability by
    chance, and the distances add up. With few images this is most of it. Here the outcomes are drawn from the
    probabilities themselves. All images of a patient share one draw, because they share the patient's class.

    Args:
        probabilities: Shape [N], of one class or the largest of each image.
        bootstrap: Patients of these images, number of draws and seed.

    Returns:
        Mean of the draws, and the ends between which 95 % of them lie.

    References: Bröcker and Smith, Increasing the reliability of reliability diagrams, Weather Forecast
    2007;22:651-661 (the draws); Kumar et al., Verified uncertainty calibration, NeurIPS 2019; Roelofs et al.,
    Mitigating bias in calibration error estimation, AISTATS 2022 (the bias).
    """
    bins, generator = equal_mass_bins(probabilities), np.random.default_rng(bootstrap.seed)
    members, errors = np.eye(bins.max() + 1)[bins], []
    for size in bootstrap.block_sizes():
        outcomes = generator.random((size, bootstrap.n_patients))[:, bootstrap.cluster] < probabilities
        errors.append(np.abs((outcomes - probabilities) @ members).sum(axis=1) / len(probabilities))
    drawn = np.concatenate(errors)
    return Interval(float(drawn.mean()), *np.percentile(drawn, [2.5, 97.5]).tolist())


def recalibration(
    is_case: NDArray[np.bool_], probabilities: Floats, bootstrap: PatientBootstrap
) -> dict[str, dict[str, float | None]]:
    """Compute the intercept and slope of a logistic regression of the truth on the logit of the probability.

    Args:
        is_case: Shape [N], whether an image is of the class.
        probabilities: Shape [N], of the class.
        bootstrap: Patients of these images; the errors are robust to several images of a patient.

    Returns:
        `intercept` at slope 1 (0: right on average; below 0: probabilities too high), and `slope` (1: right;
        below 1: too extreme), each `{"value", "low", "high"}`. Values are None where they are infinite: the
        intercept without cases or without others, the slope also where a threshold separates both completely.

    References: Cox, Two further applications of a model for binary regression, Biometrika 1958;45:562-565;
    Van Calster et al., Calibration: the Achilles heel of predictive analytics, BMC Med 2019;17:230.
    """
    nothing = Interval(None, None, None).to_json()
    if is_case.all() or not is_case.any():
        return {"intercept": nothing, "slope": nothing}
    x = logit(np.clip(probabilities, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY))
    reach = student_quantile(min(bootstrap.effective_patients(rows) for rows in (is_case, ~is_case)))
    one = np.ones((len(x), 1))

    def last_coefficient(predictors: Floats, offset: Floats) -> dict[str, float | None]:
        model = GLM(is_case.astype(np.float64), predictors, family=Binomial(), offset=offset)
        fitted = model.fit(cov_type="cluster", cov_kwds={"groups": bootstrap.cluster})
        value, error = float(fitted.params[-1]), float(fitted.bse[-1])
        return Interval(value, value - reach * error, value + reach * error).to_json()

    (least, most), (other_least, other_most) = (
        (x[rows].min(), x[rows].max()) for rows in (is_case, ~is_case)
    )
    separated = other_most <= least or most <= other_least
    slope = nothing if separated else last_coefficient(np.column_stack([one, x]), np.zeros(len(x)))
    return {"intercept": last_coefficient(one, x), "slope": slope}


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
