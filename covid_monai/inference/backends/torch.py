"""The network in PyTorch: the reference for the other backends, and the backend for GPUs."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from covid_monai.bundle import Bundle
from covid_monai.inference.backends import Backend


def load(bundle: Bundle, *, device: torch.device) -> Backend:
    """Load the network as `load_backend` describes."""
    network: Any = bundle.load_network(device)
    network.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def logits(images: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
        result: NDArray[np.float32] = network(batch).cpu().numpy()
        return result

    return logits
