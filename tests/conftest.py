"""Fixtures that several test modules share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the public images; the test is skipped where they are absent."""
    folder = os.environ.get("COVID_MONAI_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the public images: set COVID_MONAI_DATA to their folder (see data/README.md)")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """Datalist of a few synthetic films, enough to train a few steps."""
    from covid_monai.datasets.phantom_files import write_phantoms

    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "films", patients=36, size=96, ct=False)
