"""The covid-cxnet collection: patients from its table, and blocks of numbers elsewhere."""

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
def test_covid_cxnet_takes_patients_from_its_table_and_blocks_elsewhere(real_data):
    records, _ = found("covid-cxnet", real_data / "covid-cxnet")
    of_name = {record.image.name: record for record in records}
    assert of_name["261.jpg"].patient == "11"
    assert (of_name["261.jpg"].sex, of_name["261.jpg"].age) == ("M", 47)
    assert of_name["041.jpg"].patient == of_name["042.jpg"].patient == "block4"
    assert 350 < sum(record.sex is not None for record in records) < 450
