"""Figures of both levels on the test split, beside scikit-learn's, and the bundles that have none."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.decisions.unseen_sources import UnseenSources
from covid_monai.evaluation.metrics.prediction_table import write_predictions
from covid_monai.inference.two_level_evaluation import evaluate_two_levels

NAMES = ("normal", "pneumonia", "covid")


def test_shares_are_those_of_scikit_learn(tmp_path):
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 3, 240), rng.dirichlet((0.4,) * 3, 240).round(6)
    rows = [
        {"image": f"{i}.png", "label": int(k), "patient": f"p{i}", "source": "s", "split": "test"}
        | {"probabilities": row.tolist()}
        for i, (k, row) in enumerate(zip(labels, probabilities, strict=True))
    ]
    write_predictions(tmp_path / "predictions.csv", rows, NAMES)
    bundle = SimpleNamespace(
        class_names=NAMES,
        calibration=Calibration(NAMES, 1.0, dict.fromkeys(NAMES, 0.3), 0.9),
        operating_point=OperatingPoint.argmax(NAMES),
        unseen_sources=UnseenSources(NAMES, {"covid": 1.0}),
    )
    found = evaluate_two_levels(tmp_path / "predictions.csv", bundle)
    call = np.select([probabilities[:, 0] < 0.3, (probabilities[:, 1:] < 0.3).all(axis=1)], [1, 0], 2)
    ((tn, fp, on), (fn, tp, oa), _) = confusion_matrix(labels > 0, call, labels=[0, 1, 2])
    expected = {
        "sensitivity": tp / (tp + fn + oa),
        "specificity": tn / (tn + fp + on),
        "false_alarms": fp / (tn + fp + on),
        "not_told": (on + oa) / 240,
    }
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected)
    told = (probabilities[:, 2] >= 0.3) & (probabilities[:, :2] < 0.3).all(axis=1)
    told &= probabilities[:, 2] >= np.e * probabilities[:, 0]  # the cut is 1
    assert found["causes_told"]["value"] == pytest.approx(told.sum() / (call == 1).sum())
    assert found["causes_right"]["value"] == pytest.approx((labels[told] == 2).mean())
    assert found["false_causes"]["value"] == pytest.approx(told[labels == 0].mean())
    assert all(found[name]["low"] <= found[name]["value"] <= found[name]["high"] for name in expected)
    assert found["interval"] is None


def test_a_bundle_of_two_classes_has_no_levels(tmp_path):
    assert (
        evaluate_two_levels(tmp_path / "none.csv", SimpleNamespace(class_names=("normal", "covid"))) is None
    )
