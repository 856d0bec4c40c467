"""One class, or "uncertain" with its reason."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, decide
from covid_monai.inference.decision import find_prediction_set, make_decision

NAMES = ("normal", "pneumonia", "covid")
POINT = OperatingPoint("the rule", {"normal": 0.6, "pneumonia": 0.2, "covid": 0.3})
CALIBRATION = Calibration(NAMES, 1.0, {"normal": 0.5, "pneumonia": 0.4, "covid": 0.3}, 0.9)


@pytest.mark.parametrize(
    ("row", "members", "decided", "reason"),
    [
        ((0.9, 0.06, 0.04), ["normal"], "normal", None),
        ((0.05, 0.4, 0.55), ["pneumonia", "covid"], "uncertain", "pneumonia and covid are both possible"),
        ((0.45, 0.3, 0.25), [], "uncertain", "fits no class"),
        ((0.7, 0.29, 0.01), ["normal"], "uncertain", "Only normal is likely, but"),
    ],
)
def test_a_set_of_other_than_the_decided_class_is_uncertain(row, members, decided, reason):
    probabilities = np.array(row)
    possible = find_prediction_set(probabilities, CALIBRATION)
    assert possible == members
    decision = make_decision(probabilities, POINT, possible)
    assert decision["class"] == decided
    assert decision["reason"] is None if reason is None else reason in decision["reason"]
    assert decision["at_operating_point"] == NAMES[int(decide(probabilities[None], POINT)[0])]


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_without_calibration_nothing_is_uncertain(weights):
    probabilities = np.array(weights) / sum(weights)
    decision = make_decision(probabilities, POINT, None)
    assert decision["class"] == decision["at_operating_point"]
    assert decision["reason"] is None
