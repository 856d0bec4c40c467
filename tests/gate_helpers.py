"""A bundle with an input gate, for the tests of the gate."""

from pathlib import Path

import torch

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import save_checkpoint
from covid_monai.gate.fitting import fit_gate

SHIPPED = Path(__file__).parents[1] / "bundles" / "covid_cxr_classification"


def gated_bundle(folder: Path, train: list[dict], validation: list[dict]) -> Bundle:
    """A bundle with random weights, and a gate for these images."""
    torch.manual_seed(0)
    bundle = Bundle(SHIPPED, image_size=64, network_name="resnet10").copy_to(folder)
    save_checkpoint(bundle.checkpoint(bundle.build_network()), bundle.checkpoint_path)
    fit_gate(bundle, train, validation).save(bundle.gate_path)
    return bundle
