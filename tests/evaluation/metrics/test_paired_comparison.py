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
    # Two strata instead of one sample make no great difference to a paired mean.
    expected = ttest_rel(right[1].astype(float), right[0].astype(float))
    assert found["difference"]["value"] == pytest.approx(right[1].mean() - right[0].mean())
    assert found["p_value"] == pytest.approx(expected.pvalue, abs=0.03)
    ends = expected.confidence_interval()
    assert (found["difference"]["low"], found["difference"]["high"]) == pytest.approx(
        (ends.low, ends.high), abs=0.012
    )


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
