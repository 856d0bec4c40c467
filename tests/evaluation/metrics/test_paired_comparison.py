"""Comparison of two models: a paired t test for single images, and refused inputs."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_helpers import FEW, rows
from scipy.special import expit
from scipy.stats import ttest_rel
from sklearn.metrics import roc_auc_score

from covid_monai.evaluation.metrics.paired_comparison import compare_predictions

METRICS = ("auroc", "balanced_accuracy")


def test_comparison_of_single_images_is_the_paired_t_test():
    one, other = rows(200, seed=1), rows(200, seed=2)
    patients = np.arange(200).astype(str)
    one = replace(one, patients=patients)
    other = replace(one, probabilities=replace(other).probabilities)
    found = compare_predictions([one], [other], resamples=4000)["metrics"]["accuracy"]
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
    found = compare_predictions([replace(one, probabilities=worse)], [other], resamples=400)["metrics"]
    accuracy, balanced = found["accuracy"]["difference"], found["balanced_accuracy"]["difference"]
    # One of three patients of the class decides: with two degrees of freedom that is no evidence.
    assert balanced["low"] < 0 < balanced["high"]
    assert accuracy["high"] - accuracy["low"] < (balanced["high"] - balanced["low"]) / 4


def test_a_class_whose_images_are_mostly_of_one_patient_is_a_small_class():
    labels = np.array([0] * 60 + [1] * 90)
    # The second class has more patients, but one of them has 61 of its 90 images: Kish's number is 2.2.
    patients = np.r_[np.arange(20).repeat(3), np.full(61, 100), 101 + np.arange(29)]
    test = replace(rows(150, names=("no", "yes")), labels=labels, patients=patients.astype(str))
    found = compare_predictions([test], [replace(test, probabilities=test.probabilities[:, ::-1])], **FEW)
    for metric in ("auroc", "balanced_accuracy"):
        freedom = found["metrics"][metric]["degrees_of_freedom"]
        assert freedom == pytest.approx(90**2 / (61**2 + 29) - 1)


def recipe(rng, *, between_seeds, common, seeds=3):
    """Tables of one recipe: its seeds differ in how well they separate the classes."""
    test, tables = rows(100, names=("no", "yes"), seed=0), []
    for strength in 1.2 + between_seeds * rng.normal(size=seeds):
        score = strength * (test.labels * 2 - 1) + common + rng.normal(size=100)
        tables.append(replace(test, probabilities=np.column_stack([expit(-score), expit(score)])))
    return tables


@pytest.mark.slow
def test_intervals_of_recipes_hold_the_chance_of_patients_and_of_seeds():
    trials, inside, of_one_seed = 80, [], []
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        common = rng.normal(size=50).repeat(2)  # easy and difficult patients
        both = [recipe(rng, between_seeds=0.3, common=common) for _ in range(2)]
        for part, found in ((both, inside), ([tables[:1] for tables in both], of_one_seed)):
            values = compare_predictions(*part, **FEW)["metrics"]
            found += [values[m]["difference"]["low"] <= 0 <= values[m]["difference"]["high"] for m in METRICS]
    assert np.mean(inside) >= 0.92
    assert np.mean(of_one_seed) < 0.85  # which is why the result says that a seed is missing


def test_the_result_says_what_its_intervals_hold():
    tables = recipe(np.random.default_rng(0), between_seeds=0.3, common=0)
    several = compare_predictions(tables[:2], tables, **FEW)
    assert several["scope"].endswith("patients and of trainings (2 and 3 seeds)")
    assert "one seed of A" in compare_predictions(tables[:1], tables, **FEW)["scope"]
    assert "one seed of each model" in compare_predictions(tables[:1], tables[1:2], **FEW)["scope"]
    auroc = several["metrics"]["auroc"]
    areas = [roc_auc_score(table.labels, table.probabilities[:, 1]) for table in tables]
    assert auroc["second"]["value"] == pytest.approx(np.mean(areas))
    assert auroc["second"]["low"] < min(areas) < max(areas) < auroc["second"]["high"]
    assert auroc["difference"]["value"] == pytest.approx(np.mean(areas) - np.mean(areas[:2]))


def test_a_model_is_not_better_than_itself():
    test = rows(120)
    for values in compare_predictions([test], [test], **FEW)["metrics"].values():
        assert values["difference"]["value"] == 0
        assert values["p_value"] is None


def test_a_much_better_model_is_found_whatever_the_order_of_the_images():
    weak, strong = rows(200, sharpness=0.5), rows(200, sharpness=3)
    strong = strong.where(np.random.default_rng(0).permutation(200))
    found = compare_predictions([weak], [strong], **FEW)["metrics"]
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
        compare_predictions([one], [replace(one, **change)], **FEW)
