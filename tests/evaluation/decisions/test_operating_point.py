"""Thresholds against scikit-learn's ROC, decisions against the rule in words."""

import json

import numpy as np
import pytest
from evaluation_helpers import NAMES, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import brentq
from scipy.special import expit, logit, softmax
from scipy.stats import norm
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score, roc_curve

from covid_monai.evaluation.decisions.operating_point import (
    OperatingPoint,
    call,
    choose_operating_point,
    decide,
    log_odds,
)


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
def test_each_cut_comes_near_the_best_youden_index_of_roc_curve(load):
    labels, probabilities = real_probabilities(load)
    names = [f"class {k}" for k in range(probabilities.shape[1])]
    point = choose_operating_point(labels, probabilities, names)
    assert sum(point.thresholds.values()) == pytest.approx(1)
    cuts = log_odds([list(point.thresholds.values())], 0)[0]
    for k in range(1, len(names)):
        pair = np.isin(labels, (0, k))
        is_case, scores = labels[pair] == k, log_odds(probabilities[pair], 0)[:, k]
        fpr, tpr, _ = roc_curve(is_case, scores)
        assert youden(is_case, scores >= cuts[k]) == pytest.approx((tpr - fpr).max(), abs=0.05)


def skewed(rng, *, counts=(600, 600, 40)):
    """Calibrated probabilities of three classes, of which the last is rare, and the true classes."""
    labels = np.repeat([0, 1, 2], counts)
    features = rng.normal(size=(len(labels), 3)) + 1.5 * np.eye(3)[labels]
    return labels, softmax(1.5 * features + np.log(counts), axis=1)


def test_a_rare_class_is_not_favoured():
    """Equal classes are found equally often; the old thresholds, one class against the rest, favoured it."""
    recalls = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        point = choose_operating_point(*skewed(rng), ["a", "b", "c"])
        labels, probabilities = skewed(rng, counts=(2000, 2000, 2000))
        probabilities = softmax(np.log(probabilities) + np.log([600, 600, 40]), axis=1)
        recalls.append(recall_score(labels, decide(probabilities, point), average=None))
    found = np.mean(recalls, axis=0)
    assert found == pytest.approx([found.mean()] * 3, abs=0.04)


def test_a_large_source_does_not_move_the_cut():
    rng = np.random.default_rng(0)
    labels, sources = np.tile([0, 1], 1100), np.repeat([0, 1], [2000, 200])
    odds = rng.normal(size=2200) + 3 * labels - 2 * sources  # the small source lies 2 lower
    probabilities = two_columns(expit(odds))

    def cut(sources):
        point = choose_operating_point(labels, probabilities, ["no", "yes"], sources=sources)
        return logit(point.thresholds["yes"])

    # The middles between the classes are 1.5 and -0.5.
    assert cut(None) == pytest.approx(1.3, abs=0.25)
    assert cut(sources) == pytest.approx(0.5, abs=0.25)


@given(arrays(float, (20, 3), elements=st.floats(0.001, 1)), st.tuples(*[st.floats(0.001, 1)] * 3))
def test_no_class_is_decided_while_normal_is_more_probable(scores, thresholds):
    """Also with the files of older versions, in which covid has a lower threshold than normal."""
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    point = OperatingPoint("rule", dict(zip(("pneumonia", "normal", "covid"), thresholds, strict=True)))
    decided = decide(probabilities, point)
    assert np.all(probabilities[np.arange(20), decided] >= probabilities[:, 1])


def test_no_cut_against_normal_is_below_0():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [900, 100])
    probabilities = two_columns(expit(rng.normal(size=1000) + 2 * labels - 4))
    assert choose_operating_point(labels, probabilities, ["no", "yes"]).thresholds["yes"] < 0.2
    assert choose_operating_point(labels, probabilities, ["normal", "yes"]).thresholds["yes"] == 0.5


def test_two_class_youden_comes_near_the_best_balanced_accuracy():
    labels, probabilities = real_probabilities(load_breast_cancer)
    point = choose_operating_point(labels, probabilities, ["malignant", "benign"])
    best = max(
        balanced_accuracy_score(labels, probabilities[:, 1] >= cut) for cut in np.unique(probabilities[:, 1])
    )
    reached = balanced_accuracy_score(labels, decide(probabilities, point))
    assert reached == pytest.approx(best, abs=0.02)


def crossing(mean: float, deviation: float) -> float:
    """Where a normal density with these crosses the standard one, between the means: the true threshold."""
    difference = lambda x: norm.pdf(x) - norm.pdf(x, mean, deviation)  # noqa: E731
    return brentq(difference, 0, mean)


@pytest.mark.slow
@pytest.mark.parametrize(("mean", "deviation"), [(2.0, 1.0), (4.0, 1.0), (3.0, 2.0)])
def test_threshold_is_nearer_to_the_true_one_than_the_unsmoothed_youden_index(mean, deviation):
    rng = np.random.default_rng(0)
    true = crossing(mean, deviation)
    errors: dict[str, list[float]] = {"smooth": [], "unsmoothed": []}
    for _ in range(100):
        log_odds = np.concatenate([rng.normal(0, 1, 300), rng.normal(mean, deviation, 100)])
        labels = np.repeat([0, 1], [300, 100])
        point = choose_operating_point(labels, two_columns(expit(log_odds)), ["no", "yes"])
        errors["smooth"].append(logit(point.thresholds["yes"]) - true)
        fpr, tpr, cuts = roc_curve(labels, log_odds)
        errors["unsmoothed"].append(cuts[np.argmax(tpr - fpr)] - true)
    smooth, unsmoothed = (np.sqrt(np.mean(np.square(values))) for values in errors.values())
    assert smooth < 0.8 * unsmoothed
    assert smooth < 0.35


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0])), min_size=2, max_size=30
    )
)
def test_any_scores_give_a_threshold_among_them_or_a_note(cases):
    is_case, scores = (np.repeat(column, 20) for column in zip(*cases, strict=True))
    point = choose_operating_point(is_case.astype(int), two_columns(scores), ["no", "yes"])
    if point.notes:
        assert point.thresholds == {"no": 0.5, "yes": 0.5}
        assert is_case.all() or not is_case.any() or roc_auc_score(is_case, scores) <= 0.5
    else:
        assert scores.min() - 1e-6 <= point.thresholds["yes"] <= scores.max() + 1e-6


def test_separated_classes_are_cut_between_them():
    scores = np.repeat([0.05, 0.1, 0.2, 0.8, 0.9, 0.95], 10)
    point = choose_operating_point(np.repeat([0, 1], 30), two_columns(scores), ["no", "yes"])
    assert point.thresholds["yes"] == pytest.approx(0.5)


def test_a_class_of_few_patients_gets_the_neutral_threshold_and_a_note():
    labels, probabilities = np.repeat([0, 1, 2], 100), np.tile([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3]], (150, 1))
    patients = np.where(labels == 2, 200 + np.arange(300) % 7, np.arange(300))
    names = ["normal", "pneumonia", "covid"]
    point = choose_operating_point(labels, probabilities, names, patients=patients)
    assert point.thresholds["covid"] == pytest.approx(point.thresholds["normal"])
    assert set(point.sensitivity_thresholds) == {"normal", "pneumonia"}
    assert [note for note in point.notes if "covid are worth 7.0 patients" in note]
    assert point.chosen_on["cases"] == {"normal": 100, "pneumonia": 100, "covid": 100}
    assert point.chosen_on["effective_patients"]["covid"] == 7.0


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


@pytest.mark.parametrize("target", [0.5, 0.9, 1.0])
def test_sensitivity_threshold_is_the_largest_that_reaches_its_target(target):
    validation = rows(300)
    point = choose_operating_point(
        validation.labels, validation.probabilities, NAMES, sensitivity_target=target
    )
    for k, name in enumerate(NAMES):
        own = validation.labels == k
        assert call(validation.probabilities, point, name)[own].mean() >= target
        above = np.nextafter(
            np.min(
                validation.probabilities[own, k][
                    validation.probabilities[own, k] >= point.sensitivity_thresholds[name]
                ]
            ),
            1,
        )
        assert (validation.probabilities[own, k] >= above).mean() < target


def test_operating_point_of_an_older_version_loads(tmp_path):
    labels, probabilities = [0, 1, 1] * 20, [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]] * 20
    point = choose_operating_point(labels, probabilities, ["no", "yes"])
    old = {key: value for key, value in point.to_json().items() if not key.startswith("sensitivity")}
    (tmp_path / "point.json").write_text(json.dumps(old))
    loaded = OperatingPoint.load(tmp_path / "point.json")
    assert loaded.thresholds == point.thresholds
    with pytest.raises(ValueError, match="no class, not for yes"):
        call([[0.5, 0.5]], loaded, "yes")
