"""Probes: no patient in two folds, sources left out whole, and AUROC as scikit-learn has it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from covid_monai.datasets.grouping import connected_groups
from covid_monai.evaluation.shortcuts.shortcut_probes import (
    beyond_chance,
    cross_validated_auroc,
    is_shortcut,
    strongest_words,
    transferred_auroc,
)

names = st.sampled_from("abcdef")
item_lists = st.lists(
    st.fixed_dictionaries({"image": names, "patient": st.none() | names, "group": st.none() | names}),
    min_size=1,
    max_size=12,
)


def simple_model():
    return make_pipeline(LogisticRegression())


@given(items=item_lists)
def test_groups_are_the_closure_of_patient_and_duplicate(items):
    keys = [{("p", i["patient"] or i["image"]), ("g", i["group"] or id(i))} for i in items]
    reached = np.array([[bool(a & b) for b in keys] for a in keys])
    for _ in items:
        reached = (reached.astype(int) @ reached.astype(int)) > 0
    groups = connected_groups(items)
    np.testing.assert_array_equal(groups[:, None] == groups[None], reached)


def test_a_patient_is_in_one_fold_only():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(80), 4)
    features = rng.normal(size=(80, 60))[groups] + 0.01 * rng.normal(size=(320, 60))
    labels = rng.permutation(80)[groups] % 2  # has nothing to do with the features
    found = cross_validated_auroc(features, labels, groups, ["a", "b"], seed=0, model=simple_model())
    assert 0.3 < found["auroc"]["value"] < 0.7
    assert found["images"] == 320
    assert found["patients"] == 80


def test_auroc_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    labels = np.arange(90) % 3
    features = rng.normal(size=(90, 3)) + 1.2 * np.eye(3)[labels]
    groups = np.arange(90)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=7)
    scores = cross_val_predict(
        simple_model(), features, labels, groups=groups, cv=folds, method="predict_proba"
    )
    found = cross_validated_auroc(features, labels, groups, ["a", "b", "c"], seed=7, model=simple_model())
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"))
    assert found["per_class"]["b"]["value"] == pytest.approx(roc_auc_score(labels == 1, scores[:, 1]))
    assert found["auroc"]["low"] < found["auroc"]["value"] < found["auroc"]["high"]


def test_small_classes_and_equal_features_say_why_there_is_no_auroc():
    labels, groups = np.array([0] * 30 + [1] * 9 + [2] * 30), np.arange(69)
    features = np.random.default_rng(0).normal(size=(69, 2))
    found = cross_validated_auroc(features, labels, groups, ["a", "b", "c"], seed=0)
    assert set(found["per_class"]) == {"a", "c"}
    assert found["images"] == 60
    rare = np.where(np.arange(69) < 24, np.arange(69) % 2, np.arange(69) + 2)
    wide = np.random.default_rng(0).normal(size=(69, 50))
    assert cross_validated_auroc(wide, rare, groups, [*map(str, range(99))], seed=0)["images"] == 24
    none = cross_validated_auroc(features[:39], labels[:39], groups[:39], ["a", "b"], seed=0)
    assert none["auroc"]["value"] is None
    assert "10 patients" in none["note"]
    same = cross_validated_auroc(np.ones((69, 2)), labels, groups, ["a", "b", "c"], seed=0)
    assert same["auroc"]["value"] is None
    assert "are the same for all files" in same["note"]


@pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, 0.0)])
def test_left_out_source_is_scored_by_what_the_others_teach(sign, expected):
    rng = np.random.default_rng(2)
    labels, left_out = np.tile([0, 1], 100), np.repeat([False, True], 100)
    signal = np.where(left_out, sign, 1) * (2 * labels - 1)
    features = signal[:, None] + 0.1 * rng.normal(size=(200, 4))
    found = transferred_auroc(features, labels, np.arange(200), ["a", "b"], left_out=left_out, seed=0)
    assert found["auroc"]["value"] == pytest.approx(expected, abs=0.01)
    assert found["images"] == 100


def test_a_class_of_one_source_alone_cannot_be_transferred():
    labels = np.repeat([0, 1], 40)
    found = transferred_auroc(
        np.random.default_rng(0).normal(size=(80, 4)),
        labels,
        np.arange(80),
        ["a", "b"],
        left_out=labels == 1,
        seed=0,
    )
    assert found["auroc"]["value"] is None
    assert found["note"].startswith("Not possible")


def auroc(low, high):
    return {"a": {"value": None if low is None else (low + high) / 2, "low": low, "high": high}}


@pytest.mark.parametrize(
    ("low", "high", "shortcut", "words"),
    [
        (0.40, 0.60, False, None),
        (0.50, 0.60, False, None),
        (0.30, 0.45, False, None),
        (None, None, None, None),
        (0.51, 0.59, False, "only slightly: no interval lies above 0.60"),
        (0.55, 0.80, None, "there are too few patients to say how much better"),
    ],
)
def test_an_interval_that_excludes_chance_is_never_called_chance(low, high, shortcut, words):
    found = auroc(low, high)
    assert is_shortcut(found) is shortcut
    assert beyond_chance([auroc(0.4, 0.6), found], shortcut) == words


def test_the_strongest_class_is_written_with_its_interval():
    assert strongest_words(auroc(0.3, 0.44)) == "0.370 (0.300 to 0.440), worse than chance"
    assert strongest_words(auroc(0.3, 0.54)) == "0.420 (0.300 to 0.540)"
    several = {**auroc(0.6, 0.7), "b": {"value": 0.9, "low": 0.8, "high": 0.95}, "c": auroc(0.1, 0.2)["a"]}
    assert strongest_words(several) == "0.900 (0.800 to 0.950) for b"
