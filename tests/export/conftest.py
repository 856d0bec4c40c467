"""Tests of the export change unpacked copies of the archive."""

import shutil

import pytest

NAME = "covid_cxr_classification"


@pytest.fixture
def folder(archive, tmp_path):
    """Unpacked by another program than ours."""
    shutil.unpack_archive(archive, tmp_path / "un zip")
    return tmp_path / "un zip" / NAME
