"""The exported bundle, which takes half a minute; tests change unpacked copies of it."""

import shutil
from pathlib import Path

import pytest
import torch
from hostile_files import plant_modules

from covid_monai.export import export_bundle

SHIPPED = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"
NAME = "covid_cxr_classification"


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    torch.jit.trace(
        torch.nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 1, 1)
    )  # what was compiled before must not show
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    plant_modules(elsewhere)  # none of the processes that are started may run them
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        return export_bundle(SHIPPED, tmp_path_factory.mktemp("export"))


@pytest.fixture
def folder(archive, tmp_path):
    """Unpacked by another program than ours."""
    shutil.unpack_archive(archive, tmp_path / "un zip")
    return tmp_path / "un zip" / NAME
