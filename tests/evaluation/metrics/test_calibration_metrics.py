"""Reliability bins hold all images, and prediction sets are counted."""

import numpy as np
import pytest
from evaluation_helpers import FEW, NAMES, predictions, rows

from covid_monai.evaluation.metrics.calibration_metrics import abstention, reliability_bins
from covid_monai.evaluation.metrics.intervals import PatientBootstrap


def test_reliability_bins_hold_all_images():
    test = rows(200)
    for k, name in enumerate(NAMES):
        bins = reliability_bins(test, PatientBootstrap(test.patients, **FEW))[name]
        assert sum(b["n"] for b in bins) == 200
        assert [b["predicted"] for b in bins] == sorted(b["predicted"] for b in bins)
        observed = sum(b["n"] * b["observed"] for b in bins)
        assert observed == pytest.approx(np.sum(test.labels == k))


def test_abstention_counts_sets():
    labels = [0, 0, 1, 1, 2, 2]
    sets = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]], dtype=bool)
    found = abstention(
        predictions(labels, np.full((6, 3), 1 / 3), range(6)), sets, PatientBootstrap(range(6))
    )
    assert found["coverage"]["value"] == pytest.approx(4 / 6)
    assert found["single"]["value"] == pytest.approx(4 / 6)
    assert found["accuracy_when_single"]["value"] == pytest.approx(3 / 4)
    assert (found["empty"], found["several"]) == (pytest.approx(1 / 6), pytest.approx(1 / 6))
    assert found["per_class"]["pneumonia"]["coverage"]["value"] == 1
    assert found["per_class"]["normal"]["n"] == 2
