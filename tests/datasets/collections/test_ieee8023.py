"""The ieee8023 collection: every finding has a class or a reason why not."""

import csv
from collections import Counter

import pytest
from dataset_helpers import found

from covid_monai.datasets.collections.ieee8023 import class_of_finding


@pytest.mark.real_data
def test_ieee8023_labels_every_row_or_says_why_not(real_data):
    root = real_data / "covid-chestxray-dataset"
    with (root / "metadata.csv").open(newline="", encoding="utf-8") as stream:
        findings = Counter(row["finding"] for row in csv.DictReader(stream))
    records, excluded = found("ieee8023", root)
    classes = Counter(record.class_name for record in records)
    assert classes["covid"] == findings["COVID-19"] + findings["COVID-19, ARDS"] == 423
    assert classes["normal"] == findings["No Finding"] == 13
    assert classes["pneumonia"] == 80
    assert len(excluded) == findings["todo"] + findings["Unknown"] + findings["ARDS"] == 89
    assert {record.view for record in records} == {"PA", "AP", "AP SUPINE"}
    assert all(record.patient and record.image.is_file() for record in records)
    places = {record.location: record.hospital for record in records}
    assert (
        places["Hannover Medical School, Hannover, Germany"] == "Hannover Medical School, Hannover, Germany"
    )
    assert places["Ospedale Santo Spirito. Rome, Italy"]
    assert places["Italy"] is places["Melbourne, Australia"] is None


@pytest.mark.parametrize(
    ("finding", "class_name"),
    [
        ("COVID-19, ARDS", "covid"),
        ("Pneumonia/Viral/COVID-19", "covid"),
        ("Pneumonia/Viral/Herpes ", "pneumonia"),
        ("Mycoplasma Bacterial Pneumonia", "pneumonia"),
        ("Pneumonia/Bacterial/Staphylococcus/MRSA", "pneumonia"),
        ("No Finding", "normal"),
        ("Tuberculosis", None),
        ("ARDS", None),
        ("Unknown", None),
        ("", None),
    ],
)
def test_findings_of_old_and_new_releases(finding, class_name):
    assert class_of_finding(finding) == class_name
