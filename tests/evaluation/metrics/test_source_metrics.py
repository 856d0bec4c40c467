"""Each source by itself: its own predictive values and calibration, or why there are none."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_helpers import FEW, NAMES, rows

from covid_monai.evaluation.metrics.intervals import PatientBootstrap
from covid_monai.evaluation.metrics.source_metrics import coverage_by_source, source_metrics


def decided(test):
    return source_metrics(test, test.probabilities.argmax(axis=1), **FEW)["rows"]


def test_each_source_has_the_values_of_its_own_images():
    test = rows(600)
    of_one = decided(test.where(test.sources == "one"))
    found = {(row["source"], row["class"]): row for row in decided(test)}
    assert set(found) == {(source, name) for source in ("one", "two") for name in NAMES}
    for row in of_one:
        assert found["one", row["class"]] == row
        chosen = test.where(test.sources == "one")
        called = chosen.probabilities.argmax(axis=1) == NAMES.index(row["class"])
        share = np.mean(chosen.labels[called] == NAMES.index(row["class"]))
        assert row["metrics"]["ppv"]["value"] == pytest.approx(share)


def test_a_source_whose_probabilities_are_too_high_is_seen():
    test = rows(600, names=("no", "yes"), sharpness=0)
    # In both sources 0.6 is said, but in one of them 0.3 are cases.
    one = test.sources == "one"
    share = np.where(one, 0.3, 0.6)
    labels = (np.random.default_rng(0).random(300).repeat(2) < share).astype(int)
    p = 0.6 + 0.01 * np.random.default_rng(1).normal(size=600)
    test = replace(test, labels=labels, probabilities=np.column_stack([1 - p, p]))
    found = {row["source"]: row["metrics"] for row in decided(test) if row["class"] == "yes"}
    assert found["one"]["intercept"]["high"] < 0
    assert found["two"]["intercept"]["low"] < 0 < found["two"]["intercept"]["high"]
    assert found["one"]["ece"]["value"] > found["one"]["ece_by_chance"]["high"]
    # Whoever acts from 0.55 upwards acts on everybody, which harms where 0.3 are cases.
    curves = [found[source]["decision_curve"] for source in ("one", "two")]
    at = curves[0]["threshold"].index(0.5)
    assert curves[0]["model"][at] < 0 < curves[1]["model"][at]


def test_small_sources_and_single_classes_have_a_reason_instead_of_values():
    test = rows(600)
    sources = np.where(test.labels == 0, "normal only", test.sources)
    patients = np.where((sources == "two") & (test.labels == 2), "chained", test.patients)
    found = {
        (row["source"], row["class"]): row
        for row in decided(replace(test, sources=sources, patients=patients))
    }
    assert all((row["metrics"] is None) == (row["missing"] is not None) for row in found.values())
    assert found["normal only", "normal"]["missing"] == "it has no images of other classes"
    assert found["one", "normal"]["missing"] == "it has no images of normal"
    assert found["two", "covid"]["missing"] == "its images of covid are effectively of 1.0 patients"
    assert found["one", "covid"]["metrics"] is not None


def test_without_sources_there_are_no_rows():
    assert decided(replace(rows(60), sources=np.full(60, ""))) == []


def test_coverage_of_each_source_is_that_of_its_own_images():
    test = rows(600)
    sets = np.ones((600, 3), dtype=bool)
    sets[(test.sources == "two") & (test.labels == 0), 0] = False  # one hospital loses its normal images
    sources = np.where(np.arange(600) < 6, "three", test.sources)
    table = replace(test, sources=sources)
    targets = {"normal": 0.95, "pneumonia": 0.9, "covid": 0.9}
    settings = {"targets": targets, "fitted_sources": {"one", "three"}}
    found = coverage_by_source(table, sets, PatientBootstrap(test.patients), **settings)
    cells = {(row["source"], row["class"]): row for row in found}
    assert cells["two", "normal"]["coverage"]["value"] == 0
    assert cells["two", "normal"]["coverage"]["high"] < 0.1
    assert cells["one", "normal"]["coverage"]["value"] == 1
    assert [cells[source, "normal"]["target"] for source in ("one", "two")] == [0.95, 0.95]
    assert {row["source"]: row["left_out"] for row in found} == {"one": False, "three": False, "two": True}
    assert all(row["coverage"] is None for row in found if row["source"] == "three")
    unknown = coverage_by_source(
        table, sets, PatientBootstrap(test.patients), targets=targets, fitted_sources=()
    )
    assert all(row["left_out"] is None for row in unknown)
