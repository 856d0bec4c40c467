"""The network in OpenVINO, for the CPU."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from covid_monai import __version__
from covid_monai.bundle import Bundle
from covid_monai.core.errors import require_extra
from covid_monai.core.lazy_imports import hide_modules
from covid_monai.inference.backends import Backend
from covid_monai.inference.backends.network_cache import Parts, get_or_convert


def load(bundle: Bundle, *, parallel: int) -> Backend:
    """Load the network as `load_backend` describes; each image is computed alone, several in parallel."""
    # Without its converter, which sends usage statistics and changes the logging.
    with require_extra("fast"), hide_modules("openvino.tools.ovc"):
        import openvino
    key = {
        "form": "openvino",
        "network": bundle.network_digest,
        "converter": [openvino.get_version(), torch.__version__, __version__],
    }
    parts = get_or_convert(key, lambda: _convert(bundle))
    core = openvino.Core()
    weights = openvino.Tensor(np.frombuffer(parts["model.bin"], np.uint8))
    network = core.read_model(parts["model.xml"], weights)
    network.reshape([1, 1, bundle.image_size, bundle.image_size])
    settings = {
        "NUM_STREAMS": parallel,
        "INFERENCE_NUM_THREADS": parallel,
        # By default OpenVINO computes in bf16 on processors that can.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(network, "CPU", settings)
    queue, single = openvino.AsyncInferQueue(compiled, parallel), compiled.create_infer_request()
    queue.set_callback(_store)

    def logits(images: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(images) == 1:  # the queue would wake another thread, which takes a millisecond
            return np.array(single.infer([images])[0])
        rows: list[Any] = [None] * len(images)
        for index, image in enumerate(images):
            queue.start_async([image[None]], userdata=(rows, index))
        queue.wait_all()
        return np.stack(rows)

    return logits


def _store(request: Any, target: tuple[list[Any], int]) -> None:
    rows, index = target
    rows[index] = request.get_output_tensor(0).data[0].copy()


def _convert(bundle: Bundle) -> Parts:
    """Convert the network with OpenVINO's front end, without `openvino.convert_model`."""
    from openvino import serialize
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from covid_monai.inference.backends.onnx_export import example_images, suppress_export_warnings

    front_end = FrontEndManager().load_by_framework("pytorch")
    with suppress_export_warnings(), TemporaryDirectory(prefix="covid_monai_") as name:
        decoder = TorchScriptPythonDecoder(bundle.load_network(), example_input=example_images(bundle))
        model = front_end.convert(front_end.load(decoder))
        paths = Path(name) / "model.xml", Path(name) / "model.bin"
        serialize(model, *paths)
        return {path.name: path.read_bytes() for path in paths}
