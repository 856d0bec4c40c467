"""Intervals: weighted statistics against scikit-learn, coverage by simulation, degenerate data."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from covid_monai.evaluation.metrics.bootstrapped_metrics import metrics_with_intervals, resampled_metrics
from covid_monai.evaluation.metrics.classification_metrics import (
    CLASS_METRICS,
    HEADLINE_METRICS,
    MORE_CLASS_METRICS,
    MORE_HEADLINE_METRICS,
    by_score,
    compute_metrics,
    ranked,
    weighted_auroc,
    weighted_average_precision,
    weighted_confusion,
)
from covid_monai.evaluation.metrics.intervals import PatientBootstrap, share_with_interval

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
def test_weighted_areas_equal_scikit_learn(images):
    is_case, scores, weights = (np.array(column) for column in zip(*images, strict=True))
    radiographs = by_score(is_case, ranked(scores), weights[None].astype(float))
    auroc, precision = weighted_auroc(*radiographs)[0], weighted_average_precision(*radiographs)[0]
    if weights[is_case].sum() == 0:
        assert np.isnan(auroc)
        assert np.isnan(precision)
        return
    expected = average_precision_score(is_case, scores, sample_weight=weights)
    assert precision == pytest.approx(expected)
    if weights[~is_case].sum() == 0:
        assert np.isnan(auroc)
    else:
        assert auroc == pytest.approx(roc_auc_score(is_case, scores, sample_weight=weights))


def test_weighted_confusion_equals_scikit_learn():
    labels, decisions, _, patients = sample(60)
    weights = next(PatientBootstrap(labels, patients, resamples=5, seed=3).image_weights())
    ours = weighted_confusion(labels, decisions, weights, n_classes=3)
    for matrix, row in zip(ours, weights, strict=True):
        expected = confusion_matrix(labels, decisions, labels=range(3), sample_weight=row)
        assert matrix == pytest.approx(expected)


def test_equal_weights_give_the_metrics_of_the_sample():
    labels, decisions, probabilities, _ = sample(80)
    one_patient_a_class = PatientBootstrap(labels, labels, resamples=2)  # nothing can be resampled
    draws, skipped = resampled_metrics(labels, decisions, probabilities, one_patient_a_class)
    expected = compute_metrics(labels, decisions, probabilities, NAMES)
    assert skipped == 0
    for metric in (*HEADLINE_METRICS, "kappa", "average_precision"):
        assert draws[metric] == pytest.approx([expected[metric]] * 2)
    assert draws["ece"][0] == pytest.approx(
        [*(expected["per_class"][name]["ece"] for name in NAMES), expected["ece"]]
    )
    for k, name in enumerate(NAMES):
        for metric in (*CLASS_METRICS, "lr_positive", "lr_negative", "average_precision"):
            assert draws["per_class"][metric][0, k] == pytest.approx(expected["per_class"][name][metric])


def test_copies_of_an_image_do_not_narrow_the_interval():
    labels, decisions, probabilities, patients = sample(150, images_per_patient=1)
    once = metrics_with_intervals(labels, decisions, probabilities, patients, NAMES)
    copied = (np.repeat(column, 4, axis=0) for column in (labels, decisions, probabilities, patients))
    fourfold = metrics_with_intervals(*copied, NAMES)
    for metric in ("balanced_accuracy", "macro_f1", "accuracy", "kappa", "brier", "log_loss"):
        assert once[metric] == pytest.approx(fourfold[metric])


def images(rng, patients_per_class, most_images, sensitivity, likeness):
    """Labels, decisions, probabilities, patients of a process whose sensitivity and specificity are known.

    `likeness` is the share of the variance that belongs to the patient: images of one patient look alike.
    """
    n = 2 * patients_per_class
    patients = np.repeat(np.arange(n), rng.integers(1, most_images + 1, n))
    labels, shift = patients % 2, 2 * norm.ppf(sensitivity)
    of_patient, of_image = rng.normal(size=n)[patients], rng.normal(size=len(patients))
    score = shift * (labels - 0.5) + np.sqrt(likeness) * of_patient + np.sqrt(1 - likeness) * of_image
    p = 1 / (1 + np.exp(-1.5 * shift * score))  # too sure of itself: the calibration error is not zero
    return labels, (score >= 0).astype(int), np.column_stack([1 - p, p]), patients


def figures(values):
    headline = {m: values[m] for m in (*HEADLINE_METRICS, *MORE_HEADLINE_METRICS)}
    of_class = {f"yes {m}": values["per_class"]["yes"][m] for m in (*CLASS_METRICS, *MORE_CLASS_METRICS)}
    return headline | of_class


def coverage(trials, *process, resamples=200):
    """Share of trials whose 95 % interval holds the truth, per metric."""
    rng = np.random.default_rng(7)
    many = [figures(compute_metrics(*images(rng, 20_000, *process[1:])[:3], ("no", "yes"))) for _ in range(4)]
    truth = {metric: np.mean([values[metric] for values in many]) for metric in many[0]}
    hits = {metric: [] for metric in truth}
    for trial in range(trials):
        data = images(rng, *process)
        found = figures(metrics_with_intervals(*data, ("no", "yes"), resamples=resamples, seed=trial))
        for metric, interval in found.items():
            high = np.inf if interval["high"] is None else interval["high"]
            hits[metric].append(interval["low"] is not None and interval["low"] <= truth[metric] <= high)
    return {metric: np.mean(of_metric) for metric, of_metric in hits.items()}


# 35 patients a class, one image each or up to seven alike ones, and values near 0.9 and near 1.
PROCESSES = [(35, 1, 0.9, 0.0), (35, 7, 0.9, 2 / 3), (35, 1, 0.95, 0.0), (35, 7, 0.97, 2 / 3)]


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    # 1,600 trials in all: two standard errors are 1.1 points, so that 93 to 97 % is told from 90 and from 99.
    found = [coverage(400, *process) for process in PROCESSES]
    pooled = {metric: np.mean([of[metric] for of in found]) for metric in found[0]}
    assert not {metric: share for metric, share in pooled.items() if not 0.925 <= share <= 0.98}
    # Each process alone, three standard errors (3.3 points) allowed.
    assert min(min(of.values()) for of in found) >= 0.90


def sensitivity_coverage(trials, *process, of_patients):
    """Share of trials whose interval of the sensitivity holds the truth; images or patients resampled."""
    rng, hits = np.random.default_rng(2020), []
    for trial in range(trials):
        labels, decisions, _, patients = images(rng, *process)
        cases = labels == 1
        units = (patients if of_patients else np.arange(len(patients)))[cases]
        found = share_with_interval(decisions[cases], labels[cases], units, resamples=200, seed=trial)
        hits.append(found.low <= process[2] <= found.high)
    return np.mean(hits)


@pytest.mark.parametrize("process", PROCESSES)
def test_intervals_of_few_patients_are_not_too_narrow(process):
    # The percentile interval held the truth in 80 to 88 % here; of 300 trials, 91.5 % is three errors below.
    assert 0.91 <= sensitivity_coverage(300, *process, of_patients=True) <= 0.99


def test_resampling_images_instead_of_patients_would_promise_too_much():
    assert sensitivity_coverage(200, *PROCESSES[1], of_patients=False) < 0.85


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


def test_two_patients_of_unequal_numbers_of_images_have_a_wide_interval():
    labels, patients = np.array([0] * 10 + [1] * 12), np.array([0] * 5 + [1] * 5 + [2] * 11 + [3])
    scores = np.linspace(0.05, 0.95, 22)[np.r_[0:9, 20, 9:20, 21]]
    values = metrics_with_intervals(
        labels, (scores > 0.5).astype(int), np.column_stack([1 - scores, scores]), patients, ("no", "yes")
    )
    sensitivity = values["per_class"]["yes"]["sensitivity"]
    assert sensitivity["low"] < 0.2
    assert sensitivity["high"] > sensitivity["value"]


def test_resamples_that_miss_a_class_are_counted():
    labels, decisions, probabilities, patients = sample(40)
    rare = np.where(labels == 2, 0, labels)
    rare[0] = 2  # in a patient whose other image is of another class: no patient is a covid patient
    rare[1] = 0
    values = metrics_with_intervals(rare, decisions, probabilities, patients, NAMES)
    n = np.unique(patients[rare == 0]).size
    # One patient of n is drawn by none of n - 1 draws in about exp(-1) of the resamples.
    assert values["bootstrap"]["skipped"] == pytest.approx(1000 * (1 - 1 / n) ** (n - 1), abs=60)
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
        c[m] for c in values["per_class"].values() for m in (*CLASS_METRICS, "ece", "brier")
    ]:
        assert metric["low"] is None or -1e-12 <= metric["low"] <= metric["high"] <= 1 + 1e-12
        assert metric["low"] is None or metric["low"] - 1e-12 <= metric["value"] <= metric["high"] + 1e-12


def test_official_test_set_size_takes_seconds_not_minutes():
    data = sample(624)
    start = time.perf_counter()
    metrics_with_intervals(*data, NAMES)
    assert time.perf_counter() - start < 10
