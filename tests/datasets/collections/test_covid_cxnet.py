"""The covid-cxnet collection: patients from its table, neighbours and one hospital elsewhere."""

from collections import Counter

import pytest
from dataset_helpers import all_on_disk, found


@pytest.mark.real_data
def test_counts_are_those_of_the_publisher(real_data):
    records = all_on_disk("covid-cxnet", real_data / "covid-cxnet")
    assert Counter((record.split, record.class_name) for record in records) == {
        (None, "covid"): 811,
    }


@pytest.mark.real_data
def test_covid_cxnet_takes_patients_and_pages_from_its_table(real_data):
    records, _ = found("covid-cxnet", real_data / "covid-cxnet")
    of_name = {record.image.name: record for record in records}
    assert of_name["261.jpg"].patient == "11"
    assert (of_name["261.jpg"].sex, of_name["261.jpg"].age) == ("M", 47)
    assert of_name["261.jpg"].location == "Spain"
    pages = Counter(record.hospital for record in records)
    assert pages["https://twitter.com/ChestImaging/status/1243928581983670272"] == 104
    assert 350 < sum(record.sex is not None for record in records) < 450


@pytest.mark.real_data
def test_an_image_without_metadata_is_of_hannover_or_tied_to_its_neighbours(real_data):
    records, _ = found("covid-cxnet", real_data / "covid-cxnet")
    of_name = {record.image.name: record for record in records}
    tied = of_name["041.jpg"]
    assert (tied.patient, [path.name for path in tied.beside]) == (None, ["040.jpg", "042.jpg"])
    hannover = [record for record in records if record.hospital and "Hannover" in record.hospital]
    assert len(hannover) == 143
    assert not any(record.patient or record.beside for record in hannover)
