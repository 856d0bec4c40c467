"""Comparison of two models: a paired t test for single images, and refused inputs."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_helpers import FEW, rows
from scipy.stats import ttest_rel

from covid_monai.evaluation.metrics.paired_comparison import compare_predictions


def test_comparison_of_single_images_is_the_paired_t_test():
    one, other = rows(200, seed=1), rows(200, seed=2)
    patients = np.arange(200).astype(str)
    one = replace(one, patients=patients)
    other = replace(one, probabilities=replace(other).probabilities)
    found = compare_predictions(one, other, resamples=4000)["metrics"]["accuracy"]
    right = [p.probabilities.argmax(axis=1) == p.labels for p in (one, other)]
    expected = ttest_rel(right[1].astype(float), right[0].astype(float))
    assert found["difference"]["value"] == pytest.approx(right[1].mean() - right[0].mean())
    assert found["p_value"] == pytest.approx(expected.pvalue, abs=0.02)
    ends = expected.confidence_interval()
    assert (found["difference"]["low"], found["difference"]["high"]) == pytest.approx(
        (ends.low, ends.high), abs=0.006
    )


def test_a_difference_on_a_class_of_few_patients_has_their_freedom():
    labels = np.array([0] * 60 + [1] * 60 + [2] * 3)
    test = rows(124, seed=3).where(np.arange(123))
    one = replace(test, labels=labels, patients=np.arange(123).astype(str))
    right = np.eye(3)[labels] * 0.6 + 0.2 / 1.5
    probabilities = right / right.sum(axis=1, keepdims=True)
    other = replace(one, probabilities=probabilities)
    worse = probabilities.copy()
    worse[[0, 70, 120]] = worse[[0, 70, 120]][:, [1, 2, 0]]
    worse[120] = probabilities[120][[2, 1, 0]]
    found = compare_predictions(replace(one, probabilities=worse), other, resamples=400)["metrics"]
    accuracy, balanced = found["accuracy"]["difference"], found["balanced_accuracy"]["difference"]
    # One of three patients of the class decides: with two degrees of freedom that is no evidence.
    assert balanced["low"] < 0 < balanced["high"]
    assert accuracy["high"] - accuracy["low"] < (balanced["high"] - balanced["low"]) / 4


def test_a_model_is_not_better_than_itself():
    test = rows(120)
    for values in compare_predictions(test, test, **FEW)["metrics"].values():
        assert values["difference"]["value"] == 0
        assert values["p_value"] is None


def test_a_much_better_model_is_found_whatever_the_order_of_the_images():
    weak, strong = rows(200, sharpness=0.5), rows(200, sharpness=3)
    strong = strong.where(np.random.default_rng(0).permutation(200))
    found = compare_predictions(weak, strong, **FEW)["metrics"]
    for metric in ("auroc", "accuracy", "auroc (covid)"):
        assert found[metric]["difference"]["low"] > 0
        assert found[metric]["p_value"] < 0.001


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"class_names": ("normal", "covid", "pneumonia")}, "different classes"),
        ({"images": np.array([f"else/{i}" for i in range(60)])}, "different images: 120"),
        ({"images": np.full(60, "same")}, "second file lists an image more than once"),
        ({"labels": np.zeros(60, dtype=int)}, "disagree on the label"),
        ({"patients": np.full(60, "p")}, "disagree on the patient"),
        ({"splits": np.full(60, "validation")}, "second file has no row of the split test"),
    ],
)
def test_different_cases_are_refused(change, complaint):
    one = rows(60)
    with pytest.raises(ValueError, match=complaint):
        compare_predictions(one, replace(one, **change), **FEW)
