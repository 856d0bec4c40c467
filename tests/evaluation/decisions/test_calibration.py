"""Temperature against scikit-learn's, conformal thresholds against MAPIE's, and what both promise."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from covid_monai.evaluation.decisions.calibration import (
    Calibration,
    conformal_threshold,
    fit_calibration,
)
from covid_monai.evaluation.decisions.validation_weights import balanced_weights

NAMES = ("normal", "pneumonia", "covid")


def overconfident(n, *, factor=3.0, seed=0, separation=2.0):
    """Labels and softmax of logits that are `factor` times as large as the truth has them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    features = rng.normal(size=(n, 3)) + separation * np.eye(3)[labels]
    return labels, softmax(factor * separation * features, axis=1)


def test_temperature_is_the_one_that_was_put_in():
    labels, probabilities = overconfident(4000)
    calibration = fit_calibration(labels, probabilities, np.arange(4000), NAMES)
    assert calibration.temperature == pytest.approx(3, rel=0.08)


def test_temperature_equals_scikit_learns():
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    rng = np.random.default_rng(5)
    labels = rng.integers(0, 3, 6000)
    features = rng.normal(size=(6000, 3)) + np.eye(3)[labels]
    model = LogisticRegression(C=1e6).fit(features[:30], labels[:30])  # few images: too sure of itself
    probabilities = model.predict_proba(features)
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(features, labels)
    ours = fit_calibration(labels, probabilities, np.arange(6000), NAMES)
    assert ours.temperature > 1.2
    assert ours.apply(probabilities) == pytest.approx(theirs.predict_proba(features), abs=2e-3)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.5, 6), st.integers(0, 100))
def test_applying_is_dividing_the_logits(temperature, seed):
    logits = np.random.default_rng(seed).normal(size=(20, 3)) * 2
    calibration = Calibration(NAMES, temperature, dict.fromkeys(NAMES, 0.5), 0.9)
    calibrated = calibration.apply(softmax(logits, axis=1))
    assert calibrated == pytest.approx(softmax(logits / temperature, axis=1))
    assert calibration.undo(calibrated) == pytest.approx(softmax(logits, axis=1))


def test_calibration_helps_on_other_images():
    labels, probabilities = overconfident(300)
    calibration = fit_calibration(labels, probabilities, np.arange(300), NAMES)
    other, raw = overconfident(3000, seed=1)

    def loss(p):
        return -np.log(p[np.arange(3000), other]).mean()

    assert loss(calibration.apply(raw)) < 0.75 * loss(np.maximum(raw, 1e-12))


@pytest.mark.filterwarnings("ignore:WARNING. your conformalization")  # one class alone, on purpose
def test_each_class_has_the_threshold_of_mapie():
    from mapie.classification import SplitConformalClassifier

    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 400)
    features = rng.normal(size=(400, 3)) + 1.5 * np.eye(3)[labels]
    model = LogisticRegression().fit(features[:100], labels[:100])
    fit, new = slice(100, 300), slice(300, 400)
    probabilities = model.predict_proba(features)
    for k in range(3):
        own = np.flatnonzero(labels[fit] == k) + 100
        mapie = SplitConformalClassifier(model, confidence_level=0.9).conformalize(features[own], labels[own])
        _, sets = mapie.predict_set(features[new])
        threshold = conformal_threshold(probabilities[own, k], own, 0.9)
        assert np.array_equal(probabilities[new, k] >= threshold, sets[:, k, 0])


def test_sets_hold_every_class_as_often_as_promised():
    covered = []
    for seed in range(40):
        labels, raw = overconfident(400, seed=seed, separation=1.2)
        calibration = fit_calibration(labels[:200], raw[:200], np.arange(200), NAMES, coverage=0.8)
        sets = calibration.prediction_sets(calibration.apply(raw[200:]))
        held = sets[np.arange(200), labels[200:]]
        covered.append([held[labels[200:] == k].mean() for k in range(3)])
    # 40 x 67 images a class: two errors of the mean, with the sampling of the thresholds, are 2.5 points.
    assert np.mean(covered, axis=0) == pytest.approx([0.95, 0.8, 0.8], abs=0.03)


def test_images_of_one_patient_count_once():
    probabilities = np.array([*np.linspace(0.5, 0.95, 19), *[0.01] * 50])
    patients = np.array([*range(19), *[19] * 50])
    # The twentieth patient has fifty images that the network misses: still one patient of twenty.
    assert conformal_threshold(probabilities, patients, 0.9) == pytest.approx(0.5)
    assert conformal_threshold(probabilities, np.arange(69), 0.9) == pytest.approx(0.01)


def test_too_few_patients_promise_nothing_and_say_so():
    labels, raw = overconfident(200)
    rare = (labels != 2) | (np.cumsum(labels == 2) <= 8)
    calibration = fit_calibration(labels[rare], raw[rare], np.arange(rare.sum()), NAMES)
    assert calibration.conformal["covid"] == 0
    assert calibration.conformal["normal"] > 0
    assert calibration.temperature == 1
    assert [
        note for note in calibration.notes if "covid are worth 8.0 patients" in note and "every set" in note
    ]
    assert calibration.prediction_sets(raw)[:, 2].all()


def test_many_images_of_one_patient_are_few_patients():
    """133 of 220 images of one patient: worth 2.7 patients, as the old validation split had it."""
    labels, raw = overconfident(600)
    patients = np.arange(600)
    covid = np.flatnonzero(labels == 2)
    patients[covid[: 3 * len(covid) // 5]] = covid[0]
    calibration = fit_calibration(labels, raw, patients, NAMES)
    assert calibration.chosen_on["effective_patients"]["covid"] < 3
    assert (calibration.temperature, calibration.conformal["covid"]) == (1, 0)


def test_a_class_that_is_more_probable_than_all_others_is_never_excluded():
    labels = np.arange(300) % 3
    sure = softmax(8 * np.eye(3)[labels] + np.random.default_rng(0).normal(size=(300, 3)), axis=1)
    calibration = fit_calibration(labels, sure, np.arange(300), NAMES)
    assert conformal_threshold(sure[labels == 0, 0], np.arange(100), 0.95) > 0.6
    assert calibration.prediction_sets([[0.59, 0.0, 0.41]])[0, 0]


def test_each_source_is_covered_the_same_however_many_images_it_has():
    """MAPIE and any other fit that counts images cover the large source only."""
    rng, held = np.random.default_rng(0), []
    for _ in range(300):
        scores = np.concatenate([rng.uniform(0.5, 1, 300), rng.uniform(0, 0.5, 30)])
        sources, patients = np.repeat([0, 1], [300, 30]), np.arange(330)
        weights = balanced_weights(np.zeros(330), patients, sources)
        threshold = conformal_threshold(scores, patients, 0.9, weights)
        held.append(((1 - threshold) / 0.5 if threshold > 0.5 else 1) / 2 + max(0.5 - threshold, 0))
    assert 0.895 < np.mean(held) < 0.92
    assert conformal_threshold(scores, patients, 0.9) > 0.4


def test_saved_calibration_loads_equal(tmp_path):
    labels, raw = overconfident(100)
    calibration = fit_calibration(labels, raw, np.arange(100), NAMES, chosen_on={"split": "validation"})
    calibration.save(tmp_path / "new" / "calibration.json")
    assert Calibration.load(tmp_path / "new" / "calibration.json") == calibration
    assert calibration.chosen_on["patients"] == 100


def test_a_calibration_of_an_older_version_loads():
    values = Calibration(NAMES, 1.5, dict.fromkeys(NAMES, 0.3), 0.9).to_json()
    del values["normal_coverage"]
    assert Calibration.from_json(values).normal_coverage is None


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"temperature": None},
        {"coverage": 1},
        {"normal_coverage": 1},
        {"conformal": {"normal": 0.5}},
        {"conformal": 3},
    ],
)
def test_damaged_calibration_is_refused_with_the_file(tmp_path, change):
    good = Calibration(NAMES, 1.5, dict.fromkeys(NAMES, 0.3), 0.9).to_json()
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(good | change))
    with pytest.raises(ValueError, match=r"calibration\.json"):
        Calibration.load(path)


def test_misfitting_columns_are_refused():
    calibration = Calibration(NAMES, 1.5, dict.fromkeys(NAMES, 0.3), 0.9)
    with pytest.raises(ValueError, match="do not fit the 3 classes"):
        calibration.apply([[0.5, 0.5]])
    with pytest.raises(ValueError, match="cannot be fitted"):
        fit_calibration([], np.empty((0, 3)), [], NAMES)


def test_two_classes_keep_their_order():
    labels = np.arange(50) % 2
    p = np.clip(labels * 0.6 + np.linspace(0, 0.4, 50), 0.01, 0.99)
    raw = np.column_stack([1 - p, p])
    calibrated = fit_calibration(labels, raw, np.arange(50), ("no", "yes")).apply(raw)
    assert np.array_equal(np.argsort(calibrated[:, 1], kind="stable"), np.argsort(p, kind="stable"))
