"""Thresholds against scikit-learn's ROC, decisions against the rule in words."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_curve

from covid_monai.evaluation.operating_point import OperatingPoint, choose_operating_point, decide


def two_columns(p):
    return np.column_stack([1 - np.asarray(p), p])


def real_probabilities(load):
    """Labels and cross-checked probabilities of a deliberately weak model on real measurements."""
    features, labels = load(return_X_y=True)
    model = LogisticRegression().fit(features[::3, :2], labels[::3])
    return labels, model.predict_proba(features[:, :2])


def youden(is_case, positive):
    return positive[is_case].mean() - positive[~is_case].mean()


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
def test_each_threshold_reaches_the_best_youden_index_of_roc_curve(load):
    labels, probabilities = real_probabilities(load)
    names = [f"class {k}" for k in range(probabilities.shape[1])]
    point = choose_operating_point(labels, probabilities, names)
    for k in range(len(names)) if len(names) > 2 else [1]:
        fpr, tpr, _ = roc_curve(labels == k, probabilities[:, k])
        reached = youden(labels == k, probabilities[:, k] >= point.thresholds[names[k]])
        assert reached == pytest.approx((tpr - fpr).max(), abs=1e-9)


def test_two_class_youden_is_the_best_balanced_accuracy():
    labels, probabilities = real_probabilities(load_breast_cancer)
    point = choose_operating_point(labels, probabilities, ["malignant", "benign"])
    best = max(
        balanced_accuracy_score(labels, probabilities[:, 1] >= cut) for cut in np.unique(probabilities[:, 1])
    )
    assert balanced_accuracy_score(labels, decide(probabilities, point)) == pytest.approx(best)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0])), min_size=2, max_size=30
    )
)
def test_threshold_is_optimal_with_many_ties(cases):
    is_case, scores = (np.array(column) for column in zip(*cases, strict=True))
    point = choose_operating_point(is_case.astype(int), two_columns(scores), ["no", "yes"])
    if is_case.all() or not is_case.any():
        assert point.thresholds == {"no": 0.5, "yes": 0.5}
        assert point.notes
        return
    best = max(youden(is_case, scores >= cut) for cut in [*np.unique(scores), 2.0])
    if best > 1e-9:
        assert youden(is_case, scores >= point.thresholds["yes"]) == pytest.approx(best)
        assert not np.isin(point.thresholds["yes"], scores)
    else:
        assert point.thresholds["yes"] == 0.5


def test_of_equal_cuts_the_widest_gap_wins():
    point = choose_operating_point([0, 1, 0, 1], two_columns([0.1, 0.2, 0.3, 0.9]), ["no", "yes"])
    assert point.thresholds["yes"] == pytest.approx(0.6)


def test_neighbouring_floats_are_still_separated():
    low = 0.3
    high = np.nextafter(low, 1)
    probabilities = two_columns([low, low, high, high])
    point = choose_operating_point([0, 0, 1, 1], probabilities, ["no", "yes"])
    assert decide(probabilities, point).tolist() == [0, 0, 1, 1]


def test_absent_class_gets_the_neutral_threshold_and_a_note():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    point = choose_operating_point([0, 1, 0], probabilities, ["normal", "pneumonia", "covid"])
    assert point.thresholds["covid"] == pytest.approx(1 / 3)
    assert [note for note in point.notes if "covid" in note and "0 of 3" in note]
    assert point.chosen_on["cases"] == {"normal": 2, "pneumonia": 1, "covid": 0}


def test_no_images_is_an_error():
    with pytest.raises(ValueError, match="no images"):
        choose_operating_point([], np.empty((0, 2)), ["no", "yes"])


@settings(deadline=None, max_examples=50)
@given(arrays(float, st.integers(1, 40), elements=st.floats(0, 1)), st.floats(0, 1))
def test_two_classes_decide_exactly_by_the_threshold(p, threshold):
    point = OperatingPoint("rule", {"no": 1 - threshold, "yes": threshold})
    assert np.array_equal(decide(two_columns(p), point), p >= threshold)


@settings(deadline=None, max_examples=50)
@given(arrays(float, (20, 3), elements=st.floats(0.001, 1)), st.tuples(*[st.floats(0.05, 1)] * 3))
def test_more_classes_decide_by_the_largest_ratio(scores, thresholds):
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    decisions = decide(probabilities, OperatingPoint("rule", dict(zip("abc", thresholds, strict=True))))
    for row, decision in zip(probabilities, decisions, strict=True):
        ratios = [p / t for p, t in zip(row, thresholds, strict=True)]
        assert ratios[decision] == max(ratios)


@settings(deadline=None, max_examples=50)
@given(arrays(float, (20, 4), elements=st.floats(0.001, 1)))
def test_argmax_is_the_most_probable_class(scores):
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    decisions = decide(probabilities, OperatingPoint.argmax("abcd"))
    assert np.array_equal(
        np.take_along_axis(probabilities, decisions[:, None], 1)[:, 0], probabilities.max(axis=1)
    )


def test_wrong_number_of_columns_is_refused():
    with pytest.raises(ValueError, match="do not fit 3 thresholds"):
        decide([[0.5, 0.5]], OperatingPoint.argmax("abc"))


def test_saved_point_loads_equal_even_from_sorted_json(tmp_path):
    labels, probabilities = real_probabilities(load_wine)
    names = ["normal", "pneumonia", "covid"]
    chosen_on = {"split": "validation", "patients": 7, "datalist_digest": "sha256:00"}
    point = choose_operating_point(labels, probabilities, names, chosen_on=chosen_on)
    point.save(tmp_path / "new" / "point.json")
    assert OperatingPoint.load(tmp_path / "new" / "point.json") == point
    (tmp_path / "sorted.json").write_text(json.dumps(point.to_json(), sort_keys=True))
    assert OperatingPoint.load(tmp_path / "sorted.json").class_names == tuple(names)


@pytest.mark.parametrize("thresholds", ['{"a": 0.5}', '{"a": 0.5, "b": NaN}', '{"a": 0.5, "b": 7}', "0.5"])
def test_damaged_thresholds_are_refused_with_the_file(tmp_path, thresholds):
    path = tmp_path / "point.json"
    values = '"rule": "", "class_names": ["a", "b"], "chosen_on": {}, "notes": [], "thresholds": '
    path.write_text(f"{{{values}{thresholds}}}")
    with pytest.raises(ValueError, match=r"point\.json"):
        OperatingPoint.load(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
def test_what_is_no_operating_point_is_refused_with_the_file(tmp_path, text):
    path = tmp_path / "point.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"point\.json"):
        OperatingPoint.load(path)


def test_zero_threshold_is_refused_where_it_would_divide():
    with pytest.raises(ValueError, match="needs a threshold"):
        OperatingPoint("rule", {"a": 0.0, "b": 0.5, "c": 0.5})
