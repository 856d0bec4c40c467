"""The darkcovidnet collection: patients of ieee8023 and of NIH stay together."""

from collections import Counter

import pytest
from dataset_helpers import all_on_disk, found

from covid_monai.datasets.collections.base import read_table


@pytest.mark.real_data
def test_counts_are_those_of_the_publisher(real_data):
    records = all_on_disk("darkcovidnet", real_data / "darkcovidnet")
    assert Counter((record.split, record.class_name) for record in records) == {
        (None, "normal"): 500,
        (None, "pneumonia"): 500,
        (None, "covid"): 124,
    }


@pytest.mark.real_data
def test_darkcovidnet_keeps_together_what_ieee8023_calls_one_patient(real_data):
    patient_of = {
        record.image.stem.lower(): record.patient
        for record in found("ieee8023", real_data / "covid-chestxray-dataset")[0]
    }
    groups: dict[str, set] = {}
    records, _ = found("darkcovidnet", real_data / "darkcovidnet")
    for record in records:
        if record.class_name == "covid" and record.image.stem.lower() in patient_of:
            series = frozenset((record.image, *record.beside))
            groups.setdefault(patient_of[record.image.stem.lower()], set()).add(series)
    assert len(groups) > 50
    assert all(len(series) == 1 for series in groups.values())
    nih = {record.patient for record in records if record.class_name != "covid"}
    rows = read_table(real_data / "darkcovidnet" / "nih_metadata.csv", columns=("Patient ID",))
    assert nih == {row["Patient ID"] for row in rows}
    assert sum(record.age is not None and record.sex is not None for record in records) == 1000
