"""A small bundle and images for the tests of the commands."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import save_checkpoint
from covid_monai.evaluation.decisions.operating_point import OperatingPoint

SHIPPED = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle like that of a finished training, but with random weights."""
    torch.manual_seed(0)
    bundle = Bundle(SHIPPED, image_size=64, network_name="resnet10").copy_to(
        tmp_path_factory.mktemp("bundle") / "o'brien #1"
    )
    save_checkpoint(bundle.checkpoint(bundle.build_network()), bundle.checkpoint_path)
    OperatingPoint("the rule", {"normal": 0.6, "pneumonia": 0.2, "covid": 0.3}).save(
        bundle.operating_point_path
    )
    return bundle


@pytest.fixture
def images(tmp_path):
    """Two images that are read, a text called an image, and a file that is no image."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "c.png"):
        Image.fromarray(rng.integers(0, 256, (96, 80), dtype=np.uint8)).save(folder / name)
    (folder / "b.jpg").write_text("no image at all")
    (folder / "notes.txt").write_text("no image either")
    return folder
