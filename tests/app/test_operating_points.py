"""The operating points that a visitor can choose."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covid_monai.app.operating_points import choices, count_thousand
from covid_monai.bundle import Bundle
from covid_monai.core.vocabulary import Status
from covid_monai.evaluation.decisions.operating_point import call
from covid_monai.inference.prediction import Prediction

SHIPPED = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"


share = st.floats(0, 1)


@given(sensitivity=share, specificity=share, prevalence=st.floats(0.001, 0.9))
def test_a_thousand_images_are_a_thousand(sensitivity, specificity, prevalence):
    count = count_thousand(sensitivity, specificity, prevalence)
    parts = (count.found, count.missed, count.wrongly_called, count.spared)
    assert sum(parts) == 1000
    assert min(parts) >= 0
    assert count.found == pytest.approx(1000 * prevalence * sensitivity, abs=1)


def test_operating_points_decide_as_evaluation_does():
    point = Bundle(SHIPPED).operating_point
    offered = choices(point, point.class_names)
    assert [choice.class_name for choice in offered] == [None, *reversed(point.class_names)]
    row = {"normal": 0.2, "pneumonia": 0.35, "covid": 0.45}
    model = {"name": "m", "version": "1", "weights_sha256": "0", "preprocessing_digest": "0"}
    image = Prediction(file="f", status=Status.OK, model=model, probabilities=row, prediction_set=["covid"])
    assert offered[0].decide(image)["class"] == "covid"
    for choice in offered[1:]:
        called = bool(call([list(row.values())], point, choice.class_name)[0])
        assert (choice.decide(image)["class"] == choice.class_name) == called
    assert [c.class_name for c in choices(None, ("no", "yes"))] == [None]
