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
from covid_monai.core.lazy_imports import without
from covid_monai.inference.backends.choice import Backend
from covid_monai.inference.backends.network_cache import Parts, kept


def load(bundle: Bundle, *, device: torch.device, parallel: int) -> Backend:
    """As `load_backend`; one image a time on each core, so that each is computed as if it were alone."""
    openvino = _openvino()
    made_of = {
        "form": "openvino",
        "network": bundle.network_digest,
        "converter": [openvino.get_version(), torch.__version__, __version__],
    }
    parts = kept(made_of, lambda: _convert(bundle))
    core = openvino.Core()
    network = core.read_model(
        parts["model.xml"], openvino.Tensor(np.frombuffer(parts["model.bin"], np.uint8))
    )
    network.reshape([1, 1, bundle.image_size, bundle.image_size])
    settings = {
        "NUM_STREAMS": parallel,
        "INFERENCE_NUM_THREADS": parallel,
        # OpenVINO's own choice is bf16 wherever a processor has it.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(network, "CPU", settings)
    queue, alone = openvino.AsyncInferQueue(compiled, parallel), compiled.create_infer_request()
    queue.set_callback(_keep)

    def logits(images: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(images) == 1:  # the queue wakes another thread for it, which takes a millisecond
            return np.array(alone.infer([images])[0])
        rows: list[Any] = [None] * len(images)
        for index, image in enumerate(images):
            queue.start_async([image[None]], userdata=(rows, index))
        queue.wait_all()
        return np.stack(rows)

    return logits


def _openvino() -> Any:
    """Without its converter, which reports its use to its makers, and changes the whole process's logging."""
    with require_extra("fast"), without("openvino.tools.ovc"):
        import openvino

    return openvino


def _keep(request: Any, place: tuple[list[Any], int]) -> None:
    rows, index = place
    rows[index] = request.get_output_tensor(0).data[0].copy()


def _convert(bundle: Bundle) -> Parts:
    """By OpenVINO's front end itself, without `openvino.convert_model` (see `_openvino`)."""
    openvino = _openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from covid_monai.inference.backends.onnx_export import example, quietly

    front_end = FrontEndManager().load_by_framework("pytorch")
    with quietly(), TemporaryDirectory(prefix="covid_monai_") as name:
        decoder = TorchScriptPythonDecoder(bundle.load_network(), example_input=example(bundle))
        model = front_end.convert(front_end.load(decoder))
        paths = Path(name) / "model.xml", Path(name) / "model.bin"
        openvino.serialize(model, *paths)
        return {path.name: path.read_bytes() for path in paths}
