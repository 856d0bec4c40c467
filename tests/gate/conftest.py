"""A small bundle with a gate that is fitted on phantoms."""

import pytest
from gate_helpers import gated_bundle

from covid_monai.bundle import Bundle
from covid_monai.datasets.datalist import read_datalist
from covid_monai.gate.gate import Gate


@pytest.fixture(scope="session")
def data(phantoms):
    return read_datalist(phantoms)


@pytest.fixture(scope="session")
def bundle(data, tmp_path_factory) -> Bundle:
    folder = tmp_path_factory.mktemp("gated") / "bundle"
    return gated_bundle(folder, data.records("training"), data.records("validation"))


@pytest.fixture(scope="session")
def gate(bundle) -> Gate:
    return Gate.load(bundle)
