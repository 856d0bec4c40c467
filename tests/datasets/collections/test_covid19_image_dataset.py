"""The covid19-image-dataset: official parts, with patients in both."""

from collections import Counter

import pytest
from dataset_helpers import all_on_disk, found


@pytest.mark.real_data
def test_counts_are_those_of_the_publisher(real_data):
    records = all_on_disk("covid19-image-dataset", real_data / "covid19-image-dataset")
    assert Counter((record.split, record.class_name) for record in records) == {
        ("training", "covid"): 111,
        ("training", "normal"): 70,
        ("training", "pneumonia"): 70,
        ("test", "covid"): 26,
        ("test", "normal"): 20,
        ("test", "pneumonia"): 20,
    }


@pytest.mark.real_data
def test_covid19_image_dataset_names_patients_across_its_parts(real_data):
    records, _ = found("covid19-image-dataset", real_data / "covid19-image-dataset")
    parts = {
        split: {r.patient for r in records if r.split == split} - {None} for split in ("training", "test")
    }
    assert parts["training"] & parts["test"] == {f"COVID-{n:05}" for n in (3, 12, 22, 33, 37)}
