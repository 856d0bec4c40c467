"""The network in PyTorch itself: the reference for the others, and the one for GPUs."""

import numpy as np
import torch
from numpy.typing import NDArray

from covid_monai.bundle import Bundle
from covid_monai.inference.backends.choice import Backend


def load(bundle: Bundle, *, device: torch.device, parallel: int) -> Backend:
    """As `load_backend`; `parallel` does not matter here."""
    network = bundle.load_network(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def logits(images: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
        found: NDArray[np.float32] = network(batch).cpu().numpy()
        return found

    return logits
