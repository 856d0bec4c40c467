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

BACKENDS = ("openvino", "onnxruntime", "torch")  # best first
# ONNX Runtime gets its file from PyTorch's exporter, which needs these.
_NEEDS = {"openvino": ["openvino"], "onnxruntime": ["onnxruntime", "onnx", "onnxscript"], "torch": []}


def choose_backend(name: str | None, device: torch.device) -> str:
    """Return the named backend, or the best one that is installed and runs on the device.

    Raises:
        ValueError: If there is no such backend, or it does not run on the device.

    >>> choose_backend("onnxruntime", torch.device("cpu"))
    'onnxruntime'
    >>> choose_backend(None, torch.device("cuda"))
    'torch'
    """
    if name is not None and name not in BACKENDS:
        raise ValueError(unknown_choice("backend", name, BACKENDS))
    if name not in (None, "torch") and device.type != "cpu":
        raise ValueError(f"The backend {name} does not run on {device.type}. Use torch, or the device cpu.")
    if name is not None:
        return name
    if device.type != "cpu":
        return "torch"
    return next(one for one in BACKENDS if all(map(find_spec, _NEEDS[one])))


def load_backend(name: str, bundle: Bundle, *, device: torch.device, parallel: int) -> Backend:
    """Load a bundle's network, ready to run.

    Args:
        name: Backend from `choose_backend`.
        bundle: Bundle with trained weights.
        device: Where torch runs; the others run on the CPU.
        parallel: Number of images at once, one core each; torch sees them as one batch.

    Returns:
        A function from preprocessed images `[N, 1, S, S]` to logits `[N, K]`; for one thread at a time.

    Raises:
        FileNotFoundError: If the bundle has no weights.
        CheckpointError: If they do not belong to the bundle.
        ImportError: If the backend is not installed; names the extra.
    """
    module = import_module(f"covid_monai.inference.backends.{name}")
    backend: Backend = module.load(bundle, device=device, parallel=parallel)
    return backend
