"""Backends: the libraries that compute the network (OpenVINO, ONNX Runtime, PyTorch), always in float32.

A backend is a function of preprocessed images `[N, 1, S, S]` (float32) to logits `[N, K]`. The backends for
the CPU compute one image per core, so that the result of an image does not depend on the rest of its batch.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray

from covid_monai.bundle import Bundle
from covid_monai.core.errors import check_choice

Backend = Callable[[NDArray[np.float32]], NDArray[np.float32]]

BACKENDS = ("openvino", "onnxruntime", "torch")  # best first
# ONNX Runtime gets its file from PyTorch's exporter, which needs onnx and onnxscript.
_PACKAGES = {"openvino": ["openvino"], "onnxruntime": ["onnxruntime", "onnx", "onnxscript"], "torch": []}


def choose_backend(name: str | None, device: torch.device) -> str:
    """Return the named backend; for None the best one that is installed and runs on the device.

    Raises:
        ValueError: If there is no such backend, or it does not run on the device.

    >>> choose_backend("onnxruntime", torch.device("cpu"))
    'onnxruntime'
    >>> choose_backend(None, torch.device("cuda"))
    'torch'
    """
    if name is None:
        usable = BACKENDS if device.type == "cpu" else ("torch",)
        return next(backend for backend in usable if all(map(find_spec, _PACKAGES[backend])))
    check_choice("backend", name, BACKENDS)
    if name != "torch" and device.type != "cpu":
        raise ValueError(f"Backend {name!r} does not run on {device.type}. Choose torch, or the device cpu.")
    return name


def load_backend(name: str, bundle: Bundle, *, device: torch.device, parallel: int) -> Backend:
    """Load the network of a bundle, ready to run for one thread at a time.

    Args:
        name: Name from `choose_backend`.
        bundle: Bundle with trained weights.
        device: Device of the torch backend; the others run on the CPU.
        parallel: Number of images at the same time, one per core; torch computes them as one batch.

    Raises:
        FileNotFoundError: If the bundle has no weights.
        CheckpointError: If the weights do not belong to the bundle.
        ImportError: If the backend is not installed; the message names the extra.
    """
    module = import_module(f"covid_monai.inference.backends.{name}")
    options = {"device": device} if name == "torch" else {"parallel": parallel}
    backend: Backend = module.load(bundle, **options)
    return backend
