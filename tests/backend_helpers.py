"""A small bundle, and what its network says, for the tests of the backends."""

from pathlib import Path

import numpy as np
import torch

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import save_checkpoint
from covid_monai.inference.backends import load_backend

SHIPPED = Path(__file__).parents[1] / "bundles" / "covid_cxr_classification"
CPU = torch.device("cpu")


def small_bundle(folder: Path, *, seed: int = 0) -> Bundle:
    torch.manual_seed(seed)
    bundle = Bundle(SHIPPED, image_size=64, network_name="resnet10").copy_to(folder)
    save_checkpoint(bundle.checkpoint(bundle.build_network()), bundle.checkpoint_path)
    return bundle


def load(name, bundle):
    return load_backend(name, bundle, device=CPU, parallel=2)


def network_inputs(number=5, size=64):
    return np.random.default_rng(0).normal(size=(number, 1, size, size)).astype(np.float32)


def expected(bundle, batch):
    with torch.no_grad():
        return bundle.load_network()(torch.from_numpy(batch)).numpy()
