"""All numbers of a report together: complete, ready for JSON, and undefined where they must be."""

import json
from dataclasses import replace

import numpy as np
import pytest
from evaluation_helpers import FEW, NAMES, rows

from covid_monai.evaluation.decisions.calibration import fit_calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.report.report_metrics import compute_report_metrics


def both_splits(*, names=NAMES, **kinds):
    parts = [
        rows(120, names=names, split=split, seed=i, **kinds) for i, split in enumerate(("validation", "test"))
    ]
    return {p.splits[0]: p for p in parts}


@pytest.mark.parametrize("names", [NAMES, ("no", "yes")])
def test_everything_is_json_and_complete(names):
    splits = both_splits(names=names)
    found = compute_report_metrics(splits["test"], splits["validation"], **FEW)
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert [p["class"] for p in found["operating_points"]] == [None, *names]
    assert all(set(p["test"]) for p in found["operating_points"])
    assert found["calibration"]["applied"] is False
    first = found["operating_points"][0]["test"][names[1]]["sensitivity"]["value"]
    assert first == pytest.approx(found["test"]["per_class"][names[1]]["sensitivity"]["value"])
    assert set(found["prevalence"]) == set(found["decision_curve"]) == set(names)


def test_stored_temperature_is_not_applied_twice():
    splits = both_splits(sharpness=4)
    raw = splits["validation"]
    calibration = fit_calibration(raw.labels, raw.probabilities, raw.patients, NAMES)
    applied = {
        name: replace(part, probabilities=calibration.apply(part.probabilities))
        for name, part in splits.items()
    }
    fresh = compute_report_metrics(splits["test"], raw, **FEW)
    stored = compute_report_metrics(applied["test"], applied["validation"], calibration=calibration, **FEW)
    assert stored["calibration"]["applied"] is True
    for when in ("before", "after"):
        for metric in ("brier", "log_loss"):
            values = [found["calibration"][when][metric]["value"] for found in (fresh, stored)]
            assert values[0] == pytest.approx(values[1], abs=1e-4)
    assert stored["abstention"]["coverage"]["value"] == fresh["abstention"]["coverage"]["value"]


def test_without_validation_nothing_is_fitted():
    splits = both_splits()
    nothing = splits["validation"].where(np.zeros(120, dtype=bool))
    found = compute_report_metrics(splits["test"], nothing, **FEW)
    assert found["calibration"] is found["abstention"] is found["validation"] is None
    assert "There are no validation rows" in found["operating_point"]["notes"][0]
    json.dumps(found, allow_nan=False)


def test_class_without_test_cases_stays_undefined():
    splits = both_splits()
    test = splits["test"].where(splits["test"].labels != 2)
    found = compute_report_metrics(test, splits["validation"], **FEW)
    assert "covid" not in found["decision_curve"]
    assert found["operating_points"][0]["test"]["covid"]["sensitivity"]["value"] is None
    assert found["prevalence"]["covid"][0]["ppv"]["value"] is None
    json.dumps(found, allow_nan=False)


def test_other_classes_and_empty_tests_are_refused():
    splits = both_splits()
    with pytest.raises(ValueError, match="operating point is for a, b"):
        compute_report_metrics(
            splits["test"], splits["validation"], operating_point=OperatingPoint.argmax("ab")
        )
    with pytest.raises(ValueError, match="There are no rows of the test split"):
        compute_report_metrics(splits["test"].where(np.zeros(120, dtype=bool)), splits["validation"])
