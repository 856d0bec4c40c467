"""Metrics against scikit-learn, and their properties."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from covid_monai.evaluation.metrics.classification_metrics import (
    CLASS_METRICS,
    HEADLINE_METRICS,
    MORE_CLASS_METRICS,
    MORE_HEADLINE_METRICS,
    compute_metrics,
)

NAMES = ("normal", "pneumonia", "covid")


@st.composite
def evaluations(draw):
    """Labels, decisions and probabilities of a few images, ties and missing classes included."""
    n = draw(st.integers(1, 25))
    indices = st.lists(st.integers(0, 2), min_size=n, max_size=n)
    row = st.tuples(*[st.sampled_from([0.0, 0.1, 0.3, 1.0])] * 3)
    scores = np.array(draw(st.lists(row, min_size=n, max_size=n))) + 0.01
    return np.array(draw(indices)), np.array(draw(indices)), scores / scores.sum(axis=1, keepdims=True)


def scalars(values):
    yield from (values[metric] for metric in HEADLINE_METRICS)
    yield from (of_class[metric] for of_class in values["per_class"].values() for metric in CLASS_METRICS)


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(evaluations())
def test_defined_metrics_equal_scikit_learn(evaluation):
    labels, decisions, probabilities = evaluation
    values = compute_metrics(*evaluation, NAMES)
    present = sorted(set(labels.tolist()))
    assert values["accuracy"] == pytest.approx(reference.accuracy_score(labels, decisions))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of the absent classes that are drawn here
        assert values["balanced_accuracy"] == pytest.approx(
            reference.balanced_accuracy_score(labels, decisions)
        )
    f1 = reference.f1_score(labels, decisions, labels=present, average="macro", zero_division=0)
    assert values["macro_f1"] == pytest.approx(f1)
    for k in present:
        of_class, case, called = values["per_class"][NAMES[k]], labels == k, decisions == k
        assert of_class["support"] == case.sum()
        assert of_class["sensitivity"] == pytest.approx(reference.recall_score(case, called))
        assert of_class["f1"] == pytest.approx(reference.f1_score(case, called, zero_division=0))
        ppv = reference.precision_score(case, called, zero_division=np.nan)
        assert of_class["ppv"] == (pytest.approx(ppv) if called.any() else None)
        npv = reference.precision_score(~case, ~called, zero_division=np.nan)
        assert of_class["npv"] == (pytest.approx(npv) if not called.all() else None)
        if len(present) > 1:
            assert of_class["specificity"] == pytest.approx(reference.recall_score(~case, ~called))
            assert of_class["auroc"] == pytest.approx(reference.roc_auc_score(case, probabilities[:, k]))
        else:
            assert of_class["specificity"] is None
            assert of_class["auroc"] is None


def test_macro_auroc_equals_scikit_learn_one_versus_rest():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 3, 200), rng.dirichlet((1, 1, 1), 200)
    expected = reference.roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    assert compute_metrics(labels, labels, scores, NAMES)["auroc"] == pytest.approx(expected)


@settings(deadline=None, max_examples=30)
@given(evaluations())
def test_metrics_lie_between_0_and_1_or_are_none(evaluation):
    assert all(value is None or 0 <= value <= 1 for value in scalars(compute_metrics(*evaluation, NAMES)))


@settings(deadline=None, max_examples=30)
@given(evaluations(), st.randoms(use_true_random=False))
def test_order_of_images_does_not_matter(evaluation, random):
    order = list(range(len(evaluation[0])))
    random.shuffle(order)
    shuffled = compute_metrics(*(column[order] for column in evaluation), NAMES)
    assert list(scalars(shuffled)) == pytest.approx(list(scalars(compute_metrics(*evaluation, NAMES))))


def test_class_without_cases_is_none_but_for_specificity():
    labels, decisions = [0, 0, 1, 1], [0, 2, 1, 1]
    probabilities = [[0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]]
    values = compute_metrics(labels, decisions, probabilities, NAMES)
    covid = values["per_class"]["covid"]
    undefined = dict.fromkeys(CLASS_METRICS + MORE_CLASS_METRICS)
    assert covid == undefined | {"specificity": 0.75, "support": 0}
    assert values["classes_without_cases"] == ["covid"]
    assert values["balanced_accuracy"] == 0.75
    assert values["confusion_matrix"] == [[1, 0, 1], [0, 2, 0], [0, 0, 0]]


@settings(deadline=None, max_examples=30)
@given(evaluations())
def test_more_metrics_equal_scikit_learn(evaluation):
    labels, decisions, probabilities = evaluation
    values = compute_metrics(*evaluation, NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of kappa where all images are one class
        kappa = reference.cohen_kappa_score(labels, decisions)
    assert values["kappa"] == (None if np.isnan(kappa) else pytest.approx(kappa))
    assert values["log_loss"] == pytest.approx(reference.log_loss(labels, probabilities, labels=range(3)))
    brier = reference.brier_score_loss(labels, probabilities, labels=range(3), scale_by_half=True)
    assert values["brier"] == pytest.approx(brier)
    for k in set(labels.tolist()):
        of_class, case, called = values["per_class"][NAMES[k]], labels == k, decisions == k
        precision = reference.average_precision_score(case, probabilities[:, k])
        assert of_class["average_precision"] == pytest.approx(precision)
        assert of_class["brier"] == pytest.approx(np.mean((case - probabilities[:, k]) ** 2))
        if case.any() and not case.all():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of ratios that are not defined
                ratios = reference.class_likelihood_ratios(case, called, replace_undefined_by=np.nan)
            found = of_class["lr_positive"], of_class["lr_negative"]
            assert found == tuple(None if np.isnan(r) else pytest.approx(r) for r in ratios)


def test_calibration_error_equals_netcal():
    from netcal.metrics import ECE

    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 3, 500), rng.dirichlet((1, 2, 3), 500)
    values = compute_metrics(labels, labels, scores, NAMES)
    netcal = ECE(10, equal_intervals=False)
    top = scores.max(axis=1)
    right = (scores.argmax(axis=1) == labels).astype(int)
    assert values["ece"] == pytest.approx(netcal.measure(top, right))
    for k, name in enumerate(NAMES):
        expected = netcal.measure(scores[:, k], (labels == k).astype(int))
        assert values["per_class"][name]["ece"] == pytest.approx(expected)


def test_rounded_zeros_are_not_certainty():
    values = compute_metrics([0], [1], [[0.0, 1.0]], ("no", "yes"))
    assert values["log_loss"] == pytest.approx(-np.log(5e-7))


def test_every_metric_has_a_place_in_the_lists():
    values = compute_metrics([0, 1], [0, 1], np.eye(2), ("no", "yes"))
    others = {"n", "per_class", "confusion_matrix", "classes_without_cases"}
    assert set(values) == {*HEADLINE_METRICS, *MORE_HEADLINE_METRICS, *others}
    assert set(values["per_class"]["no"]) == {*CLASS_METRICS, *MORE_CLASS_METRICS, "support"}


@pytest.mark.parametrize(
    ("labels", "decisions", "probabilities", "complaint"),
    [
        ([], [], np.empty((0, 3)), "no images"),
        ([0], [0, 1], [[1, 0, 0]], "do not fit"),
        ([0], [0], [[1, 0]], "do not fit"),
    ],
)
def test_misfitting_input_is_refused(labels, decisions, probabilities, complaint):
    with pytest.raises(ValueError, match=complaint):
        compute_metrics(labels, decisions, probabilities, NAMES)
