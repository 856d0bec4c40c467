"""A small bundle for the tests of this folder."""

from pathlib import Path

import pytest
import torch

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import save_checkpoint

BUNDLE = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"


@pytest.fixture
def small_bundle(tmp_path) -> Bundle:
    """A bundle with other settings than the shipped one, and random weights."""
    source = Bundle(BUNDLE, class_names=["no", "yes"], image_size=64, network_name="resnet10")
    bundle = source.copy_to(tmp_path / "bundle")
    torch.manual_seed(0)
    save_checkpoint(bundle.checkpoint(bundle.build_network()), bundle.checkpoint_path)
    return bundle
