"""Resamples of patients, and intervals of shares."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from covid_monai.evaluation.metrics import intervals
from covid_monai.evaluation.metrics.intervals import (
    Interval,
    PatientBootstrap,
    clustered_means,
    ratio_interval,
    share_with_interval,
)


def test_patients_are_drawn_whole_whatever_their_class():
    patients = np.array([0, 0, 0, 1, 2, 2, 3, 4])
    weights = np.concatenate(list(PatientBootstrap(patients, resamples=4000).image_weights()))
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert np.array_equal(weights[:, 4], weights[:, 5])
    # Five patients weigh five in every resample, and none of them is in every resample.
    of_patients = weights[:, [0, 3, 4, 6, 7]]
    assert of_patients.sum(axis=1) == pytest.approx(5)
    assert of_patients.min(axis=0) == pytest.approx(0)
    assert of_patients.mean(axis=0) == pytest.approx(1, abs=0.06)
    # The variance of a mean of five patients comes out as s^2 / 5, not as four fifths of that.
    values = np.array([0.0, 1.0, 5.0, 2.0, 4.0])
    assert (of_patients @ values / 5).var() == pytest.approx(np.var(values, ddof=1) / 5, rel=0.08)


def test_block_size_does_not_change_the_draws(monkeypatch):
    bootstrap = PatientBootstrap(np.arange(7), resamples=50, seed=1)
    whole = np.concatenate(list(bootstrap.patient_weights()))
    monkeypatch.setattr(intervals, "_BLOCK_ELEMENTS", 21)
    blocks = list(bootstrap.patient_weights())
    assert len(blocks) == 17
    assert np.array_equal(np.concatenate(blocks), whole)


def test_clustered_error_is_that_of_the_resamples():
    rng = np.random.default_rng(4)
    patients = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    values = rng.exponential(size=60)[patients] + rng.exponential(size=len(patients))
    bootstrap = PatientBootstrap(patients, resamples=4000)
    mean, error, means, errors = clustered_means(values[:, None], bootstrap)
    assert mean[0] == pytest.approx(values.mean())
    assert error[0] == pytest.approx(means.std(), rel=0.1)
    assert errors.mean() == pytest.approx(error[0], rel=0.1)


def test_of_many_single_images_the_interval_is_wilsons():
    values = np.arange(2000) % 10 > 0
    found = share_with_interval(values, PatientBootstrap(np.arange(2000), resamples=4000))
    expected = proportion_confint(1800, 2000, method="wilson")
    assert (found.low, found.high) == pytest.approx(expected, abs=0.002)


def test_a_ratio_that_overflows_has_a_lower_end():
    ratio = ratio_interval(Interval(0.5, 0.0, 0.9), Interval(5e-324, 0.0, 0.5))
    assert (ratio.value, ratio.low, ratio.high) == (np.inf, 0.0, np.inf)


def test_images_that_do_not_count_change_nothing_but_how_many_count():
    values, among = np.array([1, 0, 1, 1, 1, 0, 0, 1]), np.array([1, 1, 1, 1, 1, 1, 0, 0], dtype=bool)
    bootstrap = PatientBootstrap(np.arange(8), resamples=2000)
    found = share_with_interval(values, bootstrap, among=among)
    alone = share_with_interval(values[among], PatientBootstrap(np.arange(6), resamples=2000))
    assert found.value == alone.value == pytest.approx(4 / 6)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.1)
    assert share_with_interval(values, bootstrap, among=np.zeros(8)) == (None, None, None)
