"""A data set of phantoms that several test modules read."""

from pathlib import Path

import pytest

from covid_monai.phantoms.dataset import write_phantoms


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "new"
    write_phantoms(folder, patients=12, seed=5, size=128)
    return folder
