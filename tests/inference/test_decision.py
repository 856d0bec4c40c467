"""The answer on two levels: normal or abnormal, the class or "uncertain" with its reason, the cause."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, decide
from covid_monai.evaluation.decisions.unseen_sources import UnseenSources
from covid_monai.inference.decision import (
    describe_abnormal,
    find_prediction_set,
    make_decision,
    make_prediction,
    name_cause,
    withhold_normal,
)
from covid_monai.lungs import lung_quality

NAMES = ("normal", "pneumonia", "covid")
POINT = OperatingPoint("the rule", {"normal": 0.2, "pneumonia": 0.3, "covid": 0.5})
CALIBRATION = Calibration(NAMES, 1.0, {"normal": 0.5, "pneumonia": 0.4, "covid": 0.3}, 0.9)
UNSEEN = UnseenSources(NAMES, {"covid": 2.0})
ROWS = st.lists(st.floats(0.001, 1), min_size=3, max_size=3)
SHARES = st.tuples(*[st.floats(0, 0.5)] * 3)


def answer(row, point=POINT, calibration=CALIBRATION, unseen=UNSEEN, names=NAMES):
    """Decision, abnormal and cause, as the classifier makes them."""
    probabilities = np.array(row)
    possible = None if calibration is None else find_prediction_set(probabilities, calibration)
    decision = make_decision(probabilities, point, possible, unseen)
    abnormal = describe_abnormal(probabilities, names, possible, calibration, unseen)
    return decision, abnormal, name_cause(probabilities, names, possible, decision, unseen)


@pytest.mark.parametrize(
    ("row", "decided", "reason", "abnormal", "cause"),
    [
        ((0.9, 0.06, 0.04), "normal", None, False, "The image is not called abnormal."),
        (
            (0.05, 0.4, 0.55),
            "uncertain",
            "pneumonia and covid are both possible",
            True,
            "cause not told: pneu",
        ),
        ((0.45, 0.3, 0.25), "uncertain", "fits no class", True, "cause not told: The image fits no class"),
        # "normal" is the most probable class, so there is no covid, however low its threshold.
        ((0.59, 0.0, 0.41), "uncertain", "normal and covid are both possible", None, "not called abnormal"),
        (
            (0.2, 0.05, 0.75),
            "uncertain",
            "too weak for a hospital",
            True,
            "evidence for covid is below the cut",
        ),
        ((0.05, 0.05, 0.9), "covid", None, True, "covid: not validated at this hospital."),
        ((0.05, 0.9, 0.05), "pneumonia", None, True, "no cut for pneumonia was found on sources"),
    ],
)
def test_two_levels(row, decided, reason, abnormal, cause):
    decision, level, named = answer(row)
    assert decision["class"] == decided
    assert decision["reason"] is None if reason is None else reason in decision["reason"]
    assert decision["at_operating_point"] == NAMES[int(decide(np.array([row]), POINT)[0])]
    assert level == {
        "probability": round(1 - row[0], 6),
        "threshold": 0.5,
        "call": abnormal,
        "interval": None,
    }
    assert cause in named["reason"]
    assert named["name"] == ("covid" if decided == "covid" else "not told")
    assert named["log_odds"] == pytest.approx(np.log(max(row[1:]) / row[0]), abs=1e-4)


@given(ROWS, SHARES, SHARES, st.one_of(st.none(), st.floats(0, 5)))
def test_no_disease_is_called_without_both_kinds_of_evidence(weights, thresholds, sets, cut):
    """Whatever the files of a bundle hold, also those of older versions."""
    row = np.array(weights) / sum(weights)
    point = OperatingPoint("", dict(zip(NAMES, np.maximum(thresholds, 1e-6), strict=True)))
    calibration = Calibration(NAMES, 1.0, dict(zip(NAMES, sets, strict=True)), 0.9)
    unseen = None if cut is None else UnseenSources(NAMES, {"covid": cut})
    decision, abnormal, cause = answer(row, point, calibration, unseen)
    if decision["class"] not in ("normal", "uncertain"):
        assert abnormal["call"] is True
        assert row[NAMES.index(decision["class"])] >= row[0]
    if decision["class"] == "normal":
        assert abnormal["call"] is False
    if cut is None:
        assert cause["name"] == "not told"
    if cause["name"] == "covid":
        assert decision["class"] == "covid"
        assert np.log(row[2] / row[0]) >= cut - 1e-5


def test_an_adapted_bundle_names_a_cause_without_the_warning():
    local = replace(UNSEEN, adapted={"normals": 124})
    _, _, cause = answer((0.05, 0.05, 0.9), unseen=local)
    assert cause["name"] == "covid"
    assert "not validated" not in cause["reason"]


def test_an_adapted_bundle_says_with_whom_its_cut_was_set_and_names_nothing_without_one():
    facts = {"site": "Clinic A", "date": "2026-12-01", "patients": 124, "cut_set_on": "normal patients"}
    local = replace(UNSEEN, adapted=facts)
    _, _, cause = answer((0.05, 0.05, 0.9), unseen=local)
    assert cause["reason"].endswith("of this hospital (124 normal patients, Clinic A, 2026-12-01).")
    decision, _, cause = answer((0.05, 0.05, 0.9), unseen=replace(local, cuts={}))
    assert (decision["class"], cause["name"]) == ("uncertain", "not told")
    assert "Clinic A has too few patients" in decision["reason"]
    assert "Clinic A has too few patients for a cut for covid" in cause["reason"]


@pytest.mark.parametrize("names", [("a", "b"), ("normal", "covid")])
def test_two_classes_or_none_called_normal_have_ordinary_sets_and_no_levels(names):
    point, calibration = OperatingPoint.argmax(names), Calibration(names, 1.0, dict.fromkeys(names, 0.4), 0.9)
    decision, abnormal, cause = answer((0.7, 0.3), point, calibration, None, names)
    assert (decision["class"], abnormal, cause) == (names[0], None, None)


@given(ROWS)
def test_without_calibration_nothing_is_uncertain_and_nothing_is_called(weights):
    decision, abnormal, cause = answer(np.array(weights) / sum(weights), calibration=None, unseen=None)
    assert decision["class"] == decision["at_operating_point"]
    assert decision["reason"] is None
    assert (abnormal["threshold"], abnormal["call"], cause["name"]) == (None, None, "not told")


@pytest.mark.parametrize(("row", "kept"), [((0.9, 0.06, 0.04), False), ((0.05, 0.05, 0.9), True)])
def test_normal_is_not_decided_where_the_lungs_are_cut_off_but_abnormal_is(row, kept):
    mask = np.zeros((50, 50))
    mask[:40, 5:22] = mask[:40, 28:45] = 1
    whole, cut_off = lung_quality(np.roll(mask, 5, axis=0)), lung_quality(mask)
    decision, abnormal, _ = answer(row)
    assert withhold_normal(decision, abnormal, None) == (decision, abnormal)
    assert withhold_normal(decision, abnormal, whole) == (decision, abnormal)
    assert withhold_normal(None, None, cut_off) == (None, None)
    changed = withhold_normal(decision, abnormal, cut_off)
    assert (changed == (decision, abnormal)) is kept
    if not kept:
        assert changed[0]["class"] == "uncertain"
        assert changed[0]["reason"].startswith("The lungs are cut off at the top of the image.")
        assert changed[0]["at_operating_point"] == "normal"
        assert changed[1] == abnormal | {"call": None}


def test_a_record_holds_both_levels_of_the_parts_of_a_bundle():
    row = (0.05, 0.05, 0.9)
    parts = SimpleNamespace(
        class_names=NAMES, operating_point=POINT, calibration=CALIBRATION, unseen_sources=UNSEEN
    )
    record = make_prediction("a.png", np.array(row), parts, model={"name": "m"})
    assert record.ok
    assert record.probabilities == dict(zip(NAMES, row, strict=True))
    assert (record.decision, record.abnormal, record.cause) == answer(row)
    assert record.quality is None
    assert record.prediction_set == ["covid"]
