"""Backends by name, and which one is best where none is named."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray

from covid_monai.bundle import Bundle
from covid_monai.core.errors import unknown_choice

Backend = Callable[[NDArray[np.float32]], NDArray[np.float32]]

PRECISIONS = ("fp32", "bf16", "int8")
_OFFERED = {  # best first
    "openvino": PRECISIONS,
    "onnxruntime": ("fp32", "int8"),
    "torch": ("fp32", "bf16"),
}
BACKENDS = tuple(_OFFERED)
# ONNX Runtime gets its file from PyTorch's exporter, which needs these.
_NEEDS = {"openvino": ["openvino"], "onnxruntime": ["onnxruntime", "onnx", "onnxscript"], "torch": []}


def choose_backend(name: str | None, precision: str, device: torch.device) -> str:
    """The named backend, or the best that is installed, offers the precision and runs on the device.

    Raises:
        ValueError: If there is no such backend or precision, or they do not go together on this device.

    >>> choose_backend("onnxruntime", "int8", torch.device("cpu"))
    'onnxruntime'
    >>> choose_backend(None, "fp32", torch.device("cuda"))
    'torch'
    """
    if name is not None and name not in BACKENDS:
        raise ValueError(unknown_choice("backend", name, BACKENDS))
    if precision not in PRECISIONS:
        raise ValueError(unknown_choice("precision", precision, PRECISIONS))
    fit = [
        one
        for one, precisions in _OFFERED.items()
        if precision in precisions and (one == "torch" or device.type == "cpu")
    ]
    if not fit or (name is not None and name not in fit):
        raise ValueError(
            f"The backend {name or 'torch'} does not run {precision} on {device.type}; what does: "
            f"{', '.join(fit) or 'none'}."
        )
    if name is not None:
        return name
    installed = [one for one in fit if all(map(find_spec, _NEEDS[one]))]
    return (installed or fit)[0]  # what is missing is said where it is imported


def load_backend(
    name: str, bundle: Bundle, *, precision: str, device: torch.device, parallel: int
) -> Backend:
    """A bundle's network, ready to run.

    Args:
        name: From `choose_backend`.
        bundle: With trained weights.
        precision: One that the backend offers.
        device: Where torch runs; the others run on the CPU.
        parallel: Images at once, one core each; torch sees them as one batch.

    Returns:
        A function of preprocessed images `[N, 1, S, S]` to logits `[N, K]`; for one thread at a time.

    Raises:
        FileNotFoundError: If the bundle has no weights, or for int8 no quantised network.
        CheckpointError: If they do not belong to the bundle.
        ImportError: If the backend is not installed; names the extra.
        ValueError: If the processor does not compute in this precision.
    """
    module = import_module(f"covid_monai.inference.backends.{name}")
    backend: Backend = module.load(bundle, precision=precision, device=device, parallel=parallel)
    return backend
