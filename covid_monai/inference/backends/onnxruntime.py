"""The network in ONNX Runtime."""

from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray

from covid_monai import __version__
from covid_monai.bundle import Bundle
from covid_monai.core.errors import require_extra
from covid_monai.inference.backends import Backend
from covid_monai.inference.backends.network_cache import get_or_convert


def load(bundle: Bundle, *, parallel: int) -> Backend:
    """Load the network as `load_backend` describes; each image is computed alone, several in parallel."""
    with require_extra("export"):
        import onnxruntime  # before the conversion, which takes seconds
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(_onnx_file(bundle), options, providers=["CPUExecutionProvider"])
    pool = ThreadPoolExecutor(parallel, thread_name_prefix="onnxruntime")

    def logits(image: NDArray[np.float32]) -> NDArray[np.float32]:
        (batch,) = session.run(["pred"], {"image": image[None]})
        row: NDArray[np.float32] = batch[0]
        return row

    return lambda images: np.stack(list(pool.map(logits, images)))


def _onnx_file(bundle: Bundle) -> bytes:
    def convert() -> dict[str, bytes]:
        with require_extra("export"):
            from covid_monai.inference.backends.onnx_export import export_onnx

            return {"model.onnx": export_onnx(bundle)}

    key = {
        "form": "onnx",
        "network": bundle.network_digest,
        "identity": bundle.identity,
        "exporter": [torch.__version__, version("onnxscript"), __version__],
    }
    return get_or_convert(key, convert)["model.onnx"]
