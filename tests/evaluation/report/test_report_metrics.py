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
    for split in ("validation", "test"):  # the same decisions, so the same figures with the same intervals
        for name, rates in found["operating_points"][0][split].items():
            for metric, figure in rates.items():
                assert figure == pytest.approx(found[split]["per_class"][name][metric]), (split, name, metric)
    assert set(found["prevalence"]) == set(found["decision_curve"]) == set(names)


@pytest.mark.parametrize("images_per_patient", [1, 2])
def test_predictive_values_at_an_operating_point_are_not_given_as_certain(images_per_patient):
    splits = both_splits(names=("no", "yes"))
    patients = np.char.mod("p%d", np.arange(120) // images_per_patient)
    test = replace(splits["test"], patients=patients)
    found = compute_report_metrics(test, splits["validation"], **FEW)
    for point in found["operating_points"]:
        for rates in point["test"].values():
            for metric in ("ppv", "npv"):
                value, low, high = rates[metric].values()
                # A share of at most 120 patients has a standard error of at least this.
                error = np.sqrt(value * (1 - value) / 120)
                assert low < value - error
                assert high > value + error or value > 0.99


def test_stored_temperature_is_not_applied_twice():
    splits = both_splits(sharpness=4)
    raw = splits["validation"]
    calibration = fit_calibration(raw.labels, raw.probabilities, raw.patients, NAMES, sources=raw.sources)
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
