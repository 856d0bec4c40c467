"""The evaluation in a bundle: whose weights it is of, and what is displayed of it."""

import json

import numpy as np
import pytest
from results_helpers import SHIPPED

from covid_monai.app.evaluation import read_evaluation, why_no_figures
from covid_monai.app.operating_points import choices
from covid_monai.app.widgets.elements import roc_svg
from covid_monai.bundle import Bundle


def test_the_shipped_bundle_carries_figures_of_its_own_weights():
    bundle = Bundle(SHIPPED)
    found = read_evaluation(bundle, bundle.identity["weights_sha256"])
    assert why_no_figures(found) is None
    assert "988 test images of 624 patients" in found.about
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
            drawing = roc_svg(found.rocs[name], (rates["sensitivity"], rates["specificity"]), title="<b>")
            assert "roc-point" in drawing
            assert "<b>" not in drawing


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
