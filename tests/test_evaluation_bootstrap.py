"""Intervals: weighted statistics against scikit-learn, coverage by simulation, degenerate data."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap, norm
from sklearn.metrics import confusion_matrix, roc_auc_score

from covid_monai.evaluation import bootstrap as module
from covid_monai.evaluation.bootstrap import (
    metrics_with_intervals,
    patient_weights,
    weighted_auroc,
    weighted_confusion,
)
from covid_monai.evaluation.metrics import CLASS_METRICS, HEADLINE_METRICS, compute_metrics

NAMES = ("normal", "pneumonia", "covid")


def sample(n, *, seed=0, images_per_patient=2):
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=[0.4, 0.45, 0.15])
    logits = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probabilities.argmax(axis=1), probabilities, np.arange(n) // images_per_patient


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.integers(0, 3)),
        min_size=2,
        max_size=30,
    )
)
def test_weighted_auroc_equals_scikit_learn(images):
    is_case, scores, weights = (np.array(column) for column in zip(*images, strict=True))
    ours = weighted_auroc(is_case, scores, weights[None].astype(float))[0]
    if weights[is_case].sum() == 0 or weights[~is_case].sum() == 0:
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(roc_auc_score(is_case, scores, sample_weight=weights))


def test_weighted_confusion_equals_scikit_learn():
    labels, decisions, _, patients = sample(60)
    weights = next(patient_weights(patients, resamples=5, seed=3))
    ours = weighted_confusion(labels, decisions, weights, n_classes=3)
    for matrix, row in zip(ours, weights, strict=True):
        assert np.array_equal(matrix, confusion_matrix(labels, decisions, labels=range(3), sample_weight=row))


def test_a_resample_has_the_metrics_of_its_repeated_rows():
    labels, decisions, probabilities, patients = sample(80)
    draws, skipped = module._resampled_metrics(
        labels, decisions, probabilities, patients, resamples=4, seed=5
    )
    assert skipped == 0
    weights = next(patient_weights(patients, resamples=4, seed=5))
    for i, row in enumerate(weights):
        rows = np.repeat(np.arange(80), row.astype(int))
        expected = compute_metrics(labels[rows], decisions[rows], probabilities[rows], NAMES)
        assert [draws[m][i] for m in HEADLINE_METRICS] == pytest.approx(
            [expected[m] for m in HEADLINE_METRICS]
        )
        for k, name in enumerate(NAMES):
            ours = [draws["per_class"][m][i, k] for m in CLASS_METRICS]
            assert ours == pytest.approx([expected["per_class"][name][m] for m in CLASS_METRICS])


def test_patients_are_drawn_whole_and_as_many_as_there_are():
    patients = np.array([0, 0, 0, 1, 2, 2])
    weights = np.concatenate(list(patient_weights(patients, resamples=500, seed=0)))
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert np.array_equal(weights[:, 4], weights[:, 5])
    assert np.all(weights[:, [0, 3, 4]].sum(axis=1) == 3)
    assert weights[:, 3].mean() == pytest.approx(1, abs=0.15)


def test_block_size_does_not_change_the_draws(monkeypatch):
    whole = np.concatenate(list(patient_weights(np.arange(7), resamples=50, seed=1)))
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 21)
    blocks = list(patient_weights(np.arange(7), resamples=50, seed=1))
    assert len(blocks) == 17
    assert np.array_equal(np.concatenate(blocks), whole)


def test_without_clusters_the_interval_is_scipys():
    labels, decisions, probabilities, patients = sample(300, images_per_patient=1)
    ours = metrics_with_intervals(labels, decisions, probabilities, patients, NAMES)["accuracy"]
    right = (labels == decisions).astype(float)
    theirs = bootstrap((right,), np.mean, method="percentile", n_resamples=2000, rng=0).confidence_interval
    assert (ours["low"], ours["high"]) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_copies_of_an_image_do_not_narrow_the_interval():
    labels, decisions, probabilities, patients = sample(150, images_per_patient=1)
    once = metrics_with_intervals(labels, decisions, probabilities, patients, NAMES)
    copied = (np.repeat(column, 4, axis=0) for column in (labels, decisions, probabilities, patients))
    fourfold = metrics_with_intervals(*copied, NAMES)
    assert {m: once[m] for m in HEADLINE_METRICS} == {m: pytest.approx(fourfold[m]) for m in HEADLINE_METRICS}


def simulated_coverage(n_trials, *, clustered):
    """Share of trials whose 95 % intervals hold the true AUROC and sensitivity of a known process."""
    rng, shift, hits = np.random.default_rng(2020), 1.2, []
    truth = {"auroc": norm.cdf(shift / np.sqrt(2)), "sensitivity": norm.cdf(shift / 2)}
    for trial in range(n_trials):
        patients = np.repeat(np.arange(120), rng.integers(1, 8, 120))
        labels = patients % 2
        # Two thirds of the variance belong to the patient, so that images of one patient look alike.
        of_patient, of_image = rng.normal(size=120)[patients], rng.normal(size=len(patients))
        score = norm.cdf(shift * (labels - 0.5) + of_patient * np.sqrt(2 / 3) + of_image * np.sqrt(1 / 3))
        probabilities, decisions = np.column_stack([1 - score, score]), (score >= 0.5).astype(int)
        units = patients if clustered else np.arange(len(patients))
        values = metrics_with_intervals(
            labels, decisions, probabilities, units, ("no", "yes"), resamples=200, seed=trial
        )
        intervals = values["per_class"]["yes"]
        hits.append([intervals[m]["low"] <= truth[m] <= intervals[m]["high"] for m in truth])
    return np.mean(hits, axis=0)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    # 1,800 trials of this process gave 93 %: what 60 patients a class and 200 resamples allow. Of 200
    # trials, 89 % is two standard errors below.
    coverage = simulated_coverage(200, clustered=True)
    assert coverage.min() >= 0.89
    assert coverage.max() < 1


def test_resampling_images_instead_of_patients_would_promise_too_much():
    assert simulated_coverage(60, clustered=False).max() < 0.9


def test_perfect_result_is_not_given_as_certain():
    labels = np.array([0] * 12 + [1] * 20)
    values = metrics_with_intervals(labels, labels, np.eye(2)[labels], np.arange(32), ("no", "yes"))
    sensitivity = values["per_class"]["yes"]["sensitivity"]
    expected = binomtest(20, 20).proportion_ci(0.95, method="exact")
    assert sensitivity == {"value": 1.0, "low": pytest.approx(expected.low), "high": 1.0}
    # The smaller class says how little is known of the AUROC.
    assert values["auroc"]["low"] == pytest.approx(binomtest(12, 12).proportion_ci(0.95, method="exact").low)
    assert {"auroc", "yes: sensitivity"} <= set(values["bootstrap"]["exact"])


def test_one_patient_gives_no_interval():
    labels = np.array([0, 1, 1])
    values = metrics_with_intervals(labels, [0, 1, 0], np.eye(2)[labels], ["p"] * 3, ("no", "yes"))
    assert values["accuracy"] == {"value": pytest.approx(2 / 3), "low": None, "high": None}


def test_resamples_that_miss_a_class_are_counted():
    labels, decisions, probabilities, patients = sample(40)
    rare = np.where(labels == 2, 0, labels)
    rare[0] = 2
    values = metrics_with_intervals(rare, decisions, probabilities, patients, NAMES)
    # One patient of twenty is drawn by no draw in (19/20)^20 = 36 % of resamples.
    assert values["bootstrap"]["skipped"] == pytest.approx(358, abs=50)
    assert values["per_class"]["covid"]["sensitivity"]["low"] is None


def test_class_without_cases_is_none_and_skips_nothing():
    labels, decisions, probabilities, patients = sample(60)
    values = metrics_with_intervals(
        np.where(labels == 2, 0, labels), decisions, probabilities, patients, NAMES
    )
    assert values["bootstrap"]["skipped"] == 0
    assert values["per_class"]["covid"]["auroc"] == {"value": None, "low": None, "high": None}


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 40), st.integers(1, 4), st.integers(0, 1000))
def test_intervals_are_ordered_bounded_and_seeded(n, images_per_patient, seed):
    data = sample(n, seed=seed, images_per_patient=images_per_patient)
    values = metrics_with_intervals(*data, NAMES, resamples=30, seed=seed)
    assert values == metrics_with_intervals(*data, NAMES, resamples=30, seed=seed)
    for metric in [values[m] for m in HEADLINE_METRICS] + [
        c[m] for c in values["per_class"].values() for m in CLASS_METRICS
    ]:
        assert metric["low"] is None or 0 <= metric["low"] <= metric["high"] <= 1 + 1e-12


def test_official_test_set_size_takes_seconds_not_minutes():
    data = sample(624)
    start = time.perf_counter()
    metrics_with_intervals(*data, NAMES)
    assert time.perf_counter() - start < 10
