"""Intervals: weighted statistics against scikit-learn, coverage by simulation, degenerate data."""

import time
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import binomtest, bootstrap, norm
from scipy.stats import t as student
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

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
    weights = next(PatientBootstrap(patients, resamples=5, seed=3).image_weights())
    ours = weighted_confusion(labels, decisions, weights, n_classes=3)
    for matrix, row in zip(ours, weights, strict=True):
        expected = confusion_matrix(labels, decisions, labels=range(3), sample_weight=row)
        assert matrix == pytest.approx(expected)


def test_equal_weights_give_the_metrics_of_the_sample():
    labels, decisions, probabilities, _ = sample(80)
    one_patient = PatientBootstrap(np.zeros(80), resamples=2)  # nothing can be resampled
    draws, skipped = resampled_metrics(labels, decisions, probabilities, one_patient)
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


class Process(NamedTuple):
    """A process that makes images, and whose sensitivity and specificity (both the same) are known.

    `prevalence` is the share of patients of the class: each is of it by chance, or exactly that many are.
    `likeness` is the share of the variance that belongs to the patient: images of one patient look alike.
    """

    patients: int
    fewest_images: int
    most_images: int
    sensitivity: float
    likeness: float = 0.0
    prevalence: float = 0.5
    by_chance: bool = True

    def images(self, rng, patients=None):
        """Labels, decisions, probabilities and patients of a sample."""
        n = patients or self.patients
        of_patient = np.arange(n) < round(self.prevalence * n)
        if self.by_chance:
            of_patient = rng.random(n) < self.prevalence
        patients = np.repeat(np.arange(n), rng.integers(self.fewest_images, self.most_images + 1, n))
        labels, shift = of_patient[patients].astype(int), 2 * norm.ppf(self.sensitivity)
        noise = np.sqrt(self.likeness) * rng.normal(size=n)[patients]
        noise += np.sqrt(1 - self.likeness) * rng.normal(size=len(patients))
        score = shift * (labels - 0.5) + noise
        p = 1 / (1 + np.exp(-1.5 * shift * score))  # too sure of itself: the calibration error is not zero
        return labels, (score >= 0).astype(int), np.column_stack([1 - p, p]), patients

    def predictive_values(self):
        """True PPV and NPV, by Bayes."""
        share, right, wrong = self.prevalence, self.sensitivity, 1 - self.sensitivity
        ppv = right * share / (right * share + wrong * (1 - share))
        return ppv, right * (1 - share) / (right * (1 - share) + wrong * share)


def figures(values):
    headline = {m: values[m] for m in (*HEADLINE_METRICS, *MORE_HEADLINE_METRICS)}
    of_class = {f"yes {m}": values["per_class"]["yes"][m] for m in (*CLASS_METRICS, *MORE_CLASS_METRICS)}
    return headline | of_class


def coverage(trials, process, resamples=200):
    """Share of trials whose 95 % interval holds the truth, per metric."""
    rng = np.random.default_rng(7)
    many = [figures(compute_metrics(*process.images(rng, 40_000)[:3], ("no", "yes"))) for _ in range(4)]
    truth = {metric: np.mean([values[metric] for values in many]) for metric in many[0]}
    hits = {metric: [] for metric in truth}
    for trial in range(trials):
        data = process.images(rng)
        found = figures(metrics_with_intervals(*data, ("no", "yes"), resamples=resamples, seed=trial))
        for metric, interval in found.items():
            high = np.inf if interval["high"] is None else interval["high"]
            hits[metric].append(interval["low"] is not None and interval["low"] <= truth[metric] <= high)
    return {metric: np.mean(of_metric) for metric, of_metric in hits.items()}


# About 35 patients a class, one image each or up to seven alike ones, and values near 0.9 and near 1.
PROCESSES = [
    Process(70, 1, 1, 0.9),
    Process(70, 1, 7, 0.9, likeness=2 / 3),
    Process(70, 1, 1, 0.95),
    Process(70, 1, 7, 0.97, likeness=2 / 3),
]


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    # 1,600 trials in all: two standard errors are 1.1 points, so that 93 to 97 % is told from 90 and from 99.
    found = [coverage(400, process) for process in PROCESSES]
    pooled = {metric: np.mean([of[metric] for of in found]) for metric in found[0]}
    assert not {metric: share for metric, share in pooled.items() if not 0.925 <= share <= 0.98}
    # Each process alone, three standard errors (3.3 points) allowed.
    assert min(min(of.values()) for of in found) >= 0.90


@pytest.mark.slow
def test_chosen_numbers_of_patients_make_no_interval_too_narrow():
    found = [coverage(200, process._replace(by_chance=False)) for process in PROCESSES]
    pooled = {metric: np.mean([of[metric] for of in found]) for metric in found[0]}
    assert min(pooled.values()) >= 0.925
    of_one_class = ("yes sensitivity", "yes specificity", "yes auroc", "balanced_accuracy")
    assert max(pooled[metric] for metric in of_one_class) <= 0.98


def share_coverage(trials, process, metric, *, of_patients=True):
    """Share of trials whose interval of a share holds the truth; images or patients resampled."""
    rng, hits = np.random.default_rng(2020), []
    ppv, npv = process.predictive_values()
    truth = {"sensitivity": process.sensitivity, "ppv": ppv, "npv": npv}[metric]
    for trial in range(trials):
        labels, decisions, _, patients = process.images(rng)
        units = patients if of_patients else np.arange(len(patients))
        values, among = {
            "sensitivity": (decisions == 1, labels == 1),
            "ppv": (labels == 1, decisions == 1),
            "npv": (labels == 0, decisions == 0),
        }[metric]
        drawn = PatientBootstrap(units, resamples=200, seed=trial)
        found = share_with_interval(values, drawn, among=among)
        hits.append(found.low is not None and found.low <= truth <= found.high)
    return np.mean(hits)


@pytest.mark.parametrize("by_chance", [True, False])
@pytest.mark.parametrize("process", PROCESSES)
def test_intervals_of_few_patients_are_not_too_narrow(process, by_chance):
    # The percentile interval held the truth in 80 to 88 % here; of 300 trials, 91.5 % is three errors below.
    process = process._replace(by_chance=by_chance)
    assert 0.91 <= share_coverage(300, process, "sensitivity") <= 0.99


# One image a patient, two alike ones, up to seven; a frequent class and a rare one; few patients and many.
PREDICTIVE = [
    Process(patients, fewest, most, sensitivity, likeness=2 / 3 * (most > 1), prevalence=prevalence)
    for patients, prevalence, sensitivity in ((70, 0.5, 0.9), (300, 0.05, 0.95), (600, 0.15, 0.9))
    for fewest, most in ((1, 1), (2, 2), (1, 7))
]


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["ppv", "npv"])
def test_intervals_of_predictive_values_hold_the_truth_as_often_as_they_say(metric):
    found = [share_coverage(250, process, metric) for process in PREDICTIVE]
    # 2,250 trials in all: three standard errors are 1.4 points. Each process alone: 4.1 points.
    assert 0.93 <= np.mean(found) <= 0.97
    assert min(found) >= 0.91
    assert max(found) <= 0.995


def test_resampling_images_instead_of_patients_would_promise_too_much():
    assert share_coverage(200, PROCESSES[1], "sensitivity", of_patients=False) < 0.85
    assert share_coverage(200, PREDICTIVE[2], "ppv", of_patients=False) < 0.85


def test_predictive_values_of_single_images_have_the_bootstrap_of_scipy():
    labels, decisions, probabilities, patients = Process(600, 1, 1, 0.9, prevalence=0.2).images(
        np.random.default_rng(5)
    )
    found = metrics_with_intervals(labels, decisions, probabilities, patients, ("no", "yes"), resamples=4000)
    for metric, value in (("ppv", 1), ("npv", 0)):

        def share(labels, decisions, value=value):
            return np.mean(labels[decisions == value] == value)

        expected = bootstrap(
            (labels, decisions), share, paired=True, vectorized=False, n_resamples=2000, rng=0
        )
        ends = expected.confidence_interval
        ours = found["per_class"]["yes"][metric]
        assert ours["value"] == share(labels, decisions)
        assert (ours["low"], ours["high"]) == pytest.approx((ends.low, ends.high), abs=0.01)


@pytest.mark.parametrize("process", PREDICTIVE[6:], ids=str)
def test_predictive_values_have_the_cluster_robust_error_of_statsmodels(process):
    labels, decisions, _, patients = process.images(np.random.default_rng(3))
    resamples = PatientBootstrap(patients, resamples=4000)
    for value in (0, 1):
        among = decisions == value
        right, groups = (labels == value)[among].astype(float), patients[among]
        model = GLM(right, np.ones(len(right)), family=Binomial())
        expected = model.fit(cov_type="cluster", cov_kwds={"groups": groups})
        found = share_with_interval(labels == value, resamples, among=among)
        assert found.value == pytest.approx(expit(expected.params[0]))
        effective = resamples.effective_patients(among)
        reach = (logit(found.high) - logit(found.low)) / 2 / student.ppf(0.975, effective - 1)
        assert reach == pytest.approx(expected.bse[0], rel=0.12)


def test_predictive_values_of_a_class_that_is_never_or_hardly_ever_decided():
    labels = np.array([0] * 10 + [1] * 10)
    never = metrics_with_intervals(labels, [0] * 20, np.eye(2)[labels], np.arange(20), ("no", "yes"))
    assert never["per_class"]["yes"]["ppv"] == {"value": None, "low": None, "high": None}
    assert (
        0.2 < never["per_class"]["yes"]["npv"]["low"] < 0.5 < never["per_class"]["yes"]["npv"]["high"] < 0.8
    )
    decisions = np.array([0] * 9 + [1] + [0] * 9 + [1])
    twice = metrics_with_intervals(labels, decisions, np.eye(2)[labels], np.arange(20), ("no", "yes"))
    assert twice["per_class"]["yes"]["ppv"]["value"] == 0.5
    assert twice["per_class"]["yes"]["ppv"]["low"] < 0.05
    assert twice["per_class"]["yes"]["ppv"]["high"] > 0.95
    # Of one patient alone nothing is known, however many images were decided.
    patients = np.where(decisions == 1, 99, np.arange(20))
    one = metrics_with_intervals(labels, decisions, np.eye(2)[labels], patients, ("no", "yes"))
    assert one["per_class"]["yes"]["ppv"] == {"value": 0.5, "low": None, "high": None}


def test_perfect_result_is_not_given_as_certain():
    labels = np.array([0] * 12 + [1] * 20)
    values = metrics_with_intervals(labels, labels, np.eye(2)[labels], np.arange(32), ("no", "yes"))
    sensitivity = values["per_class"]["yes"]["sensitivity"]
    expected = binomtest(20, 20).proportion_ci(0.95, method="exact")
    assert sensitivity == {"value": 1.0, "low": pytest.approx(expected.low), "high": 1.0}
    # The smaller class says how little is known of the AUROC.
    assert values["auroc"]["low"] == pytest.approx(binomtest(12, 12).proportion_ci(0.95, method="exact").low)
    assert {"auroc", "kappa", "yes: sensitivity", "yes: ppv"} <= set(values["bootstrap"]["exact"])
    metrics = {name.split(": ")[-1] for name in values["bootstrap"]["exact"]}
    assert metrics <= {*HEADLINE_METRICS, *MORE_HEADLINE_METRICS, *CLASS_METRICS}  # the names of the metrics
    assert values["per_class"]["yes"]["ppv"] == sensitivity
    assert values["kappa"]["low"] == pytest.approx(2 * binomtest(32, 32).proportion_ci(0.95).low - 1)


def test_a_perfect_result_of_mostly_one_patient_is_hardly_more_than_that_patient():
    labels = np.array([0] * 60 + [1] * 220)
    patients = np.r_[np.arange(60), np.full(133, 100), 101 + np.arange(87)]
    values = metrics_with_intervals(labels, labels, np.eye(2)[labels], patients, ("no", "yes"))
    effective = 220**2 / (133**2 + 87)
    # Clopper and Pearson's lower end where all of n are right is 0.025 to the power of 1 / n.
    for metric in (values["per_class"]["yes"]["sensitivity"], values["auroc"], values["balanced_accuracy"]):
        assert metric["low"] == pytest.approx(0.025 ** (1 / effective))


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
    n = np.unique(patients).size
    # One patient of n is drawn by none of n - 1 draws in about exp(-1) of the resamples.
    assert values["bootstrap"]["skipped"] == pytest.approx(1000 * (1 - 1 / n) ** (n - 1), abs=60)
    assert values["per_class"]["covid"]["sensitivity"]["low"] is None
    # The metrics of the other classes need no case of this one.
    assert values["per_class"]["normal"]["sensitivity"]["low"] is not None


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
