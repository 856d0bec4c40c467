"""The network in ONNX Runtime."""

from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray

from covid_monai import __version__
from covid_monai.bundle import Bundle
from covid_monai.core.errors import require_extra
from covid_monai.inference.backends.choice import Backend
from covid_monai.inference.backends.network_cache import kept


def load(bundle: Bundle, *, device: torch.device, parallel: int) -> Backend:
    """As `load_backend`; images run side by side, so that each is computed as if it were alone."""
    with require_extra("export"):
        import onnxruntime  # before seconds are spent on converting
    content = _converted(bundle)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    pool = ThreadPoolExecutor(parallel, thread_name_prefix="onnxruntime")

    def row(image: NDArray[np.float32]) -> NDArray[np.float32]:
        (logits,) = session.run(["pred"], {"image": image[None]})
        found: NDArray[np.float32] = logits[0]
        return found

    return lambda images: np.stack(list(pool.map(row, images)))


def _converted(bundle: Bundle) -> bytes:
    def convert() -> dict[str, bytes]:
        with require_extra("export"):
            from covid_monai.inference.backends.onnx_export import onnx_bytes

            return {"model.onnx": onnx_bytes(bundle)}

    made_of = {
        "form": "onnx",
        "network": bundle.network_digest,
        "identity": bundle.identity,
        "exporter": [torch.__version__, version("onnxscript"), __version__],
    }
    return kept(made_of, convert)["model.onnx"]
