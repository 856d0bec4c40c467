"""Cuts from left-out sources: what they promise by simulation, and what they refuse to say."""

import json

import numpy as np
import pytest
from scipy.special import softmax
from statsmodels.stats.proportion import proportion_confint

from covid_monai.evaluation.decisions.unseen_sources import (
    UnseenSources,
    false_alarm_cut,
    fit_unseen_sources,
)

NAMES = ("normal", "pneumonia", "covid")


def left_out(n=400, *, shifts=(0.0, 1.5), seed=0):
    """Predictions of sources whose normals are the more like covid, the larger the shift."""
    rng = np.random.default_rng(seed)
    sources = np.repeat(np.arange(len(shifts)), n)
    labels = rng.integers(0, 3, len(sources))
    logits = rng.normal(size=(len(sources), 3)) + 3 * np.eye(3)[labels]
    logits[:, 2] += np.asarray(shifts)[sources] * (labels == 0)
    return labels, softmax(logits, axis=1), np.arange(len(labels)), np.array(["mild", "bad", "c"])[sources]


def test_the_cut_is_that_of_the_worst_source():
    labels, probabilities, patients, sources = left_out()
    unseen = fit_unseen_sources(labels, probabilities, patients, sources, NAMES, abnormal_threshold=0.6)
    odds = np.log(probabilities[:, 2] / probabilities[:, 0])
    shares = {
        name: np.mean(odds[(sources == name) & (labels == 0)] >= unseen.cuts["covid"])
        for name in ("mild", "bad")
    }
    assert shares["mild"] < shares["bad"] <= 0.05
    worst = odds[(sources == "bad") & (labels == 0)]
    assert np.mean(worst >= unseen.cuts["covid"] - 1e-6) > shares["bad"]  # no smaller cut would do
    found = unseen.sources["bad"]["causes"]["covid"]["sensitivity"]
    assert found["value"] == np.mean(odds[(sources == "bad") & (labels == 2)] >= unseen.cuts["covid"])
    called = round(found["value"] * unseen.sources["bad"]["cases"]["covid"])
    low, high = proportion_confint(called, unseen.sources["bad"]["cases"]["covid"], method="wilson")
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=0.05)
    span = unseen.abnormal_span()
    assert span["false_alarms"][1] == unseen.sources["bad"]["abnormal"]["false_alarms"]["high"]
    assert span["false_alarms"][0] == unseen.sources["mild"]["abnormal"]["false_alarms"]["low"]


def test_the_next_patient_of_a_source_reaches_the_cut_as_rarely_as_promised():
    rng = np.random.default_rng(0)
    reached = []
    for _ in range(400):
        patients = rng.integers(0, 40, 90)  # some have many images, which are alike
        own = rng.normal(size=40)
        log_odds = 3 + own[patients] + 0.1 * rng.normal(size=90)
        cut = false_alarm_cut(log_odds, patients, 0.05)
        reached.append(np.mean(3 + rng.normal(size=2000) + 0.1 * rng.normal(size=2000) >= cut))
    assert 0.02 < np.mean(reached) <= 0.053


def test_too_little_evidence_names_no_cause():
    labels, probabilities, patients, sources = left_out(shifts=(0.0,))
    unseen = fit_unseen_sources(labels, probabilities, patients, sources, NAMES)
    assert unseen.cuts == {}
    assert "1 of the sources" in unseen.notes[0]
    assert unseen.abnormal_span() is None
    # Many images of few patients are no evidence either.
    labels, probabilities, patients, sources = left_out()
    few = fit_unseen_sources(labels, probabilities, patients % 7, sources, NAMES, abnormal_threshold=0.5)
    assert few.cuts == {}
    assert few.sources["bad"]["abnormal"] == {"false_alarms": None, "sensitivity": None}


def test_a_cut_never_lets_a_class_pass_while_normal_is_more_probable():
    labels, probabilities, patients, sources = left_out(shifts=(-9.0, -9.0))
    unseen = fit_unseen_sources(labels, probabilities, patients, sources, NAMES)
    assert unseen.cuts["covid"] == 0


def test_it_is_read_as_it_was_written_and_damage_is_told(tmp_path):
    unseen = fit_unseen_sources(*left_out(), NAMES, abnormal_threshold=0.5)
    unseen.save(tmp_path / "u.json")
    assert UnseenSources.load(tmp_path / "u.json") == unseen
    for damage in (
        {"cuts": {"covid": -1.0}},
        {"cuts": {"normal": 1.0}},
        {"cuts": {"covid": "x"}},
        {"class_names": ["a", "b"]},
        {"sources": {"s": {}}},
        {"sources": {"s": {"abnormal": {"false_alarms": 1, "sensitivity": None}}}},
        {"false_alarm_limit": 0},
        {"adapted": 3},
    ):
        (tmp_path / "u.json").write_text(json.dumps(unseen.to_json() | damage))
        with pytest.raises(ValueError, match=r"u\.json cannot be used"):
            UnseenSources.load(tmp_path / "u.json")
