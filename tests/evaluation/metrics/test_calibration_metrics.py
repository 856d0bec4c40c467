"""Reliability bins hold all images, and prediction sets are counted."""

import numpy as np
import pytest
from evaluation_helpers import FEW, NAMES, predictions, rows
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

from covid_monai.evaluation.metrics.calibration_metrics import (
    abstention,
    ece_by_chance,
    recalibration,
    reliability_bins,
)
from covid_monai.evaluation.metrics.classification_metrics import equal_mass_bins, weighted_ece
from covid_monai.evaluation.metrics.intervals import PatientBootstrap


def test_reliability_bins_hold_all_images():
    test = rows(200)
    for k, name in enumerate(NAMES):
        bins = reliability_bins(test, PatientBootstrap(test.patients, **FEW))[name]
        assert sum(b["n"] for b in bins) == 200
        assert [b["predicted"] for b in bins] == sorted(b["predicted"] for b in bins)
        observed = sum(b["n"] * b["observed"] for b in bins)
        assert observed == pytest.approx(np.sum(test.labels == k))


def test_abstention_counts_sets():
    labels = [0, 0, 1, 1, 2, 2]
    sets = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]], dtype=bool)
    found = abstention(
        predictions(labels, np.full((6, 3), 1 / 3), range(6)), sets, PatientBootstrap(range(6))
    )
    assert found["coverage"]["value"] == pytest.approx(4 / 6)
    assert found["single"]["value"] == pytest.approx(4 / 6)
    assert found["accuracy_when_single"]["value"] == pytest.approx(3 / 4)
    assert (found["empty"], found["several"]) == (pytest.approx(1 / 6), pytest.approx(1 / 6))
    assert found["per_class"]["pneumonia"]["coverage"]["value"] == 1
    assert found["per_class"]["normal"]["n"] == 2


def calibrated(rng, patients, *, images=2):
    """Probabilities of images whose patients have the class as often as they say."""
    p = expit(rng.normal(size=patients)).repeat(images)
    return rng.random(patients).repeat(images) < p, p, PatientBootstrap(np.arange(patients).repeat(images))


def test_recalibration_equals_scikit_learns_regression():
    is_case, p, bootstrap = calibrated(np.random.default_rng(0), 150)
    p = expit(2 * logit(p) + 0.7)  # too extreme and too high
    found = recalibration(is_case, p, bootstrap)
    model = LogisticRegression(C=np.inf, tol=1e-8).fit(logit(p)[:, None], is_case)
    assert found["slope"]["value"] == pytest.approx(model.coef_[0, 0], abs=1e-4)
    expected = brentq(lambda a: np.sum(is_case - expit(a + logit(p))), -5, 5)
    assert found["intercept"]["value"] == pytest.approx(expected, abs=1e-6)
    assert found["slope"]["high"] < 1
    assert found["intercept"]["high"] < 0


@pytest.mark.slow
def test_intervals_of_calibrated_probabilities_hold_intercept_0_and_slope_1():
    inside = []
    for trial in range(300):
        is_case, p, bootstrap = calibrated(np.random.default_rng(trial), 60, images=3)
        found = recalibration(is_case, p, bootstrap)
        inside.append(
            [found[k]["low"] <= right <= found[k]["high"] for k, right in (("intercept", 0), ("slope", 1))]
        )
    # With images as if they were of three times as many patients, it is 0.75.
    assert np.mean(inside, axis=0).min() >= 0.92


def test_what_is_infinite_is_not_defined():
    labels, nothing = np.arange(40) < 20, {"value": None, "low": None, "high": None}
    found = recalibration(labels, np.where(labels, 0.8, 0.3), PatientBootstrap(range(40)))
    assert found["slope"] == nothing
    assert found["intercept"]["value"] is not None
    assert recalibration(labels | True, np.full(40, 0.5), PatientBootstrap(range(40)))["intercept"] == nothing


def test_error_by_chance_is_that_of_the_binomial_distribution():
    # Equal probabilities share one bin; its error is the distance of a binomial share from them.
    counts = np.arange(41)
    expected = np.sum(binom.pmf(counts, 40, 0.3) * np.abs(counts / 40 - 0.3))
    found = ece_by_chance(np.full(40, 0.3), PatientBootstrap(range(40), resamples=20_000))
    assert found.value == pytest.approx(expected, rel=0.02)
    # Four images of each patient are worth ten images.
    expected = np.sum(binom.pmf(counts, 10, 0.3) * np.abs(counts / 10 - 0.3))
    found = ece_by_chance(np.full(40, 0.3), PatientBootstrap(np.arange(40) // 4, resamples=20_000))
    assert found.value == pytest.approx(expected, rel=0.02)


def test_few_calibrated_images_have_an_error_that_lies_in_the_range_of_chance():
    inside, values = 0, []
    for trial in range(200):
        is_case, p, bootstrap = calibrated(np.random.default_rng(trial), 40)
        value = weighted_ece(p, is_case, np.ones((1, 80)), equal_mass_bins(p))[0]
        low, high = ece_by_chance(p, PatientBootstrap(bootstrap.cluster, resamples=300))[1:]
        inside += low <= value <= high
        values.append(value)
    assert np.mean(values) > 0.1  # as much as a badly calibrated network on many images
    assert inside / 200 >= 0.92
