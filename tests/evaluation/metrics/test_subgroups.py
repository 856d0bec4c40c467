"""Subgroups partition the images, and small ones are marked."""

from dataclasses import replace

import numpy as np
from evaluation_helpers import FEW, NAMES, rows

from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.metrics.subgroups import FEWEST_PATIENTS, subgroup_table


def test_subgroups_partition_the_images_and_small_ones_are_marked():
    test = rows(300)
    table = subgroup_table(test, OperatingPoint.argmax(NAMES), **FEW)["rows"]
    for by in ("view", "sex", "age", "source"):
        assert sum(row["images"] for row in table if row["by"] == by) == 300
    assert {row["name"] for row in table if row["by"] == "view"} == {"PA", "not recorded"}
    for row in table:
        assert row["thin"] == (min(n for n in row["cases"].values() if n) < FEWEST_PATIENTS)
    assert any(row["thin"] for row in table)
    assert not all(row["thin"] for row in table)
    sources = {row["name"]: row for row in table if row["by"] == "source"}
    chosen = test.where(test.sources == "one")
    assert sources["one"]["patients"] == len(np.unique(chosen.patients))


def test_property_that_nobody_recorded_is_left_out():
    test = replace(rows(60), views=np.full(60, ""), ages=np.full(60, np.nan))
    table = subgroup_table(test, OperatingPoint.argmax(NAMES), **FEW)["rows"]
    assert {row["by"] for row in table} == {"sex", "source"}


def test_a_group_of_mostly_one_patient_has_few_patients():
    test = replace(rows(300), sources=np.full(300, "one"))
    chained = np.where(
        test.labels == 2, np.where(np.arange(300) < 240, "block", test.patients), test.patients
    )
    for patients, thin in ((test.patients, False), (chained, True)):
        table = subgroup_table(replace(test, patients=patients), OperatingPoint.argmax(NAMES), **FEW)["rows"]
        (row,) = (row for row in table if row["by"] == "source")
        assert row["thin"] == thin


def test_metrics_of_very_few_patients_are_left_out():
    test = replace(rows(300), sources=np.full(300, "one"))
    few = np.where(np.isin(test.labels, [0, 1]), test.patients, "one covid patient")
    (row,) = (
        row
        for row in subgroup_table(replace(test, patients=few), OperatingPoint.argmax(NAMES), **FEW)["rows"]
        if row["by"] == "source"
    )
    assert row["auroc"]["value"] is row["balanced_accuracy"]["value"] is None
    normal, covid = row["per_class"][NAMES[0]], row["per_class"][NAMES[2]]
    assert covid["auroc"]["value"] is covid["sensitivity"]["value"] is None
    assert covid["specificity"]["value"] is not None
    assert normal["sensitivity"]["value"] is not None
