"""The network in PyTorch itself: the reference for the others, and the one for GPUs."""

import numpy as np
import torch
from numpy.typing import NDArray

from covid_monai.bundle import Bundle
from covid_monai.inference.backends.choice import Backend


def load(bundle: Bundle, *, precision: str, device: torch.device, parallel: int) -> Backend:
    """As `load_backend`; `parallel` does not matter here.

    Raises:
        ValueError: If bf16 is wanted of a GPU without it.
    """
    bf16 = precision == "bf16"
    if bf16 and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError("This GPU does not compute in bf16: use fp32.")
    network = bundle.load_network(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def logits(images: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            found: NDArray[np.float32] = network(batch).float().cpu().numpy()
        return found

    return logits
