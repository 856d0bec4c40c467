"""The evaluation in a bundle and its operating points: whose weights they are of, and what is displayed."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from results_helpers import SHIPPED

from covid_monai.app.evaluation import choices, count_thousand, read_evaluation, why_no_figures
from covid_monai.bundle import Bundle
from covid_monai.core.vocabulary import Status
from covid_monai.evaluation.decisions.operating_point import call
from covid_monai.inference.prediction import Prediction

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


def test_the_shipped_bundle_carries_figures_of_its_own_weights():
    bundle = Bundle(SHIPPED)
    found = read_evaluation(bundle, bundle.identity["weights_sha256"])
    assert why_no_figures(found) is None
    assert "1,117 test images of 664 patients" in found.about
    for choice in choices(bundle.operating_point, bundle.class_names):
        for name in bundle.class_names if choice.class_name is None else [choice.class_name]:
            rates = found.rates(choice, name)
            curve = np.array(found.rocs[name])
            assert tuple(curve[0]) == (0, 0)
            assert tuple(curve[-1]) == (1, 1)
            assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(
                found.per_class[name]["auroc"]["value"], abs=1e-3
            )
            if choice.class_name:  # a threshold of one probability lies on the curve
                x, y = 1 - rates["specificity"]["value"], rates["sensitivity"]["value"]
                assert curve[curve[:, 0] <= x + 1e-3, 1].max() == pytest.approx(y, abs=0.01)


def test_figures_of_other_weights_are_not_shown(tmp_path):
    bundle = Bundle(SHIPPED).copy_to(tmp_path / "mine")
    assert read_evaluation(bundle, "any") is None
    assert "no evaluation" in why_no_figures(None)
    (bundle.root / "models").mkdir()
    bundle.checkpoint_path.write_bytes(b"other weights")
    (bundle.root / "evaluation").mkdir()
    text = (SHIPPED / "evaluation" / "metrics.json").read_bytes()
    (bundle.root / "evaluation" / "metrics.json").write_bytes(text)
    assert "other weights" in why_no_figures(read_evaluation(bundle, bundle.identity["weights_sha256"]))


def evaluated(tmp_path, **changes):
    (tmp_path / "configs").mkdir()
    for name in ("inference.yaml", "metadata.json"):
        (tmp_path / "configs" / name).write_bytes((SHIPPED / "configs" / name).read_bytes())
    figure = {"value": 0.5, "low": None, "high": None}
    of_class = {"support": 3, "auroc": figure, "sensitivity": figure, "specificity": figure}
    metrics = {
        "verdict": {"result": "r", "shortcuts": [{"sentence": "s", "shortcut": None}], "limits": ["l"]},
        "test": {"per_class": {"covid": of_class}},
        "roc": {"covid": {"one_minus_specificity": [0, 1], "sensitivity": [0, 1]}},
        "model": {"weights_sha256": "w"},
        "data": {"splits": {"test": {"images": 3, "patients": 2}}},
        "operating_points": [],
    } | changes
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
    return Bundle(tmp_path)


def test_evaluation_says_whose_weights_it_is_of_and_closes_the_report(tmp_path):
    bundle = evaluated(tmp_path)
    (tmp_path / "evaluation" / "report.html").write_text("<html>the report</html>")
    found = read_evaluation(bundle, "w")
    assert found is not None
    assert found.same_weights
    assert found.checks == (("s", None),)
    assert found.rocs == {"covid": [(0, 0), (1, 1)]}
    assert "default-src 'none'" in found.report
    assert found.report.endswith("the report</html>")
    other = read_evaluation(bundle, "other")
    assert other is not None
    assert not other.same_weights


@pytest.mark.parametrize(
    "changes", [{"verdict": None}, {"test": {"per_class": {"covid": {}}}}, {"model": []}]
)
def test_broken_evaluation_is_left_out(tmp_path, changes, caplog):
    assert read_evaluation(evaluated(tmp_path, **changes), "w") is None
    assert "no evaluation that can be displayed" in caplog.text


def test_bundle_without_evaluation_has_none(tmp_path):
    bundle = evaluated(tmp_path)
    (tmp_path / "evaluation" / "metrics.json").unlink()
    assert read_evaluation(bundle, "w") is None
