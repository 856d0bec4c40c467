"""The network as TorchScript and as ONNX, and what each says of an image.

Both take the preprocessed tensor `image`, `[N, 1, S, S]` float32, and give `pred`, logits `[N, K]`.
"""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import save_net_with_metadata
from monai.networks.utils import convert_to_torchscript
from numpy.typing import NDArray

from covid_monai.bundle import Bundle
from covid_monai.core.atomic_files import replace_atomically
from covid_monai.inference.backends.onnx_export import example, onnx_bytes, quietly

Probabilities = Callable[[torch.Tensor], NDArray[np.float64]]
TORCHSCRIPT, ONNX = "model.ts", "model.onnx"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_forms(bundle: Bundle) -> None:
    """Write `model.ts` and `model.onnx` into the bundle's `models/`.

    By a Python of their own: TorchScript numbers its types on from whatever a process has compiled before.

    Raises:
        RuntimeError: If the network cannot be exported; with the exporter's words.
    """
    command = [sys.executable, "-m", __name__, str(bundle.root)]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"the network could not be exported: {done.stderr.strip()[-500:]}")


def write_torchscript(bundle: Bundle, path: Path) -> None:
    """Write the network with the bundle's metadata and inference.yaml inside, as MONAI's `ckpt_export` does.

    Unlike there, the places of the source files on this machine are left out: the same weights give the same
    bytes everywhere.
    """
    config = ConfigParser.load_config_file(str(bundle.root / "configs" / "inference.yaml"))
    # The name of the file becomes part of the archive.
    with replace_atomically(path) as temporary, TemporaryDirectory() as folder, quietly():
        written = Path(folder) / TORCHSCRIPT
        save_net_with_metadata(
            # Traced: the scripted form lists the layers' constants in an order that differs from run to run.
            convert_to_torchscript(bundle.load_network(), inputs=[example(bundle)], use_trace=True),
            str(written),
            include_config_vals=False,
            append_timestamp=False,
            meta_values=dict(bundle.metadata),
            more_extra_files={"inference.json": json.dumps(config).encode()},
        )
        _without_source_places(written, temporary)


def write_onnx(bundle: Bundle, path: Path) -> None:
    """Write the network for ONNX Runtime, for any number of images at once."""
    with replace_atomically(path) as temporary:
        temporary.write_bytes(onnx_bytes(bundle))


def of_network(network: torch.nn.Module) -> Probabilities:
    """Softmax of the logits: a function of `[N, 1, S, S]` to `[N, K]`."""

    def probabilities(images: torch.Tensor) -> NDArray[np.float64]:
        with torch.inference_mode():
            return torch.softmax(network(images).double(), dim=1).numpy()

    return probabilities


def of_torchscript(path: Path) -> Probabilities:
    """The same from `model.ts`."""
    with quietly():
        return of_network(torch.jit.load(str(path), map_location="cpu").eval())


def of_onnx(path: Path) -> Probabilities:
    """The same from `model.onnx` by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def probabilities(images: torch.Tensor) -> NDArray[np.float64]:
        (logits,) = session.run(["pred"], {"image": images.numpy()})
        return torch.softmax(torch.from_numpy(logits).double(), dim=1).numpy()

    return probabilities


def _without_source_places(written: Path, path: Path) -> None:
    """Copy a TorchScript archive without debug records, and without the number that is drawn from them."""
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            if not name.endswith((".debug_pkl", "/.data/serialization_id")):
                new.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), old.read(name))


if __name__ == "__main__":
    exported = Bundle(sys.argv[1])
    write_torchscript(exported, exported.checkpoint_path.with_name(TORCHSCRIPT))
    write_onnx(exported, exported.checkpoint_path.with_name(ONNX))
