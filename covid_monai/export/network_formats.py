"""The network as TorchScript and as ONNX, and the comparison of both with the checkpoint.

Both take the preprocessed tensor `image`, `[N, 1, S, S]` float32, and give `pred`, logits `[N, K]`.
"""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from monai.data import DataLoader, Dataset, save_net_with_metadata
from monai.networks.utils import convert_to_torchscript
from numpy.typing import NDArray
from PIL import Image

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle_zip import EPOCH
from covid_monai.bundle.safe_config import read_config
from covid_monai.core.atomic_files import replace_atomically
from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES
from covid_monai.export.foreign_code import load_torchscript, read_onnx
from covid_monai.inference.backends.onnx_export import example_images, export_onnx, suppress_export_warnings
from covid_monai.inference.decision import compute_probabilities
from covid_monai.phantoms.radiograph import draw_radiograph
from covid_monai.readers.image_files import readable_images

Network = Callable[[torch.Tensor], torch.Tensor | NDArray[np.float32]]  # [N, 1, S, S] to logits [N, K]
TORCHSCRIPT, ONNX = "model.ts", "model.onnx"
TOLERANCE = 1e-4  # of a probability, in float32
_PHANTOMS = 12
_BATCH = 16


class ParityError(ValueError):
    """An exported network gives other probabilities than the checkpoint."""


def write_formats(bundle: Bundle) -> None:
    """Write `model.ts` and `model.onnx` into the bundle's `models/`.

    A new Python process does this, because TorchScript numbers its types by what a process compiled before.
    """
    command = [sys.executable, "-P", "-m", __name__, str(bundle.root), *["trust"][: bundle.trust_code]]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise RuntimeError(
            f"The network of {bundle.name} cannot be exported as TorchScript and ONNX. Its layers must be "
            f"traceable: {done.stderr.strip()[-500:]}"
        )


def write_torchscript(bundle: Bundle, path: Path) -> None:
    """Write the network with the bundle's metadata and inference.yaml inside, as MONAI's `ckpt_export` does.

    Unlike there, the paths of source files on this machine are left out, so that the same weights give the
    same bytes everywhere.
    """
    config = read_config(bundle.root / "configs" / "inference.yaml")
    # The name of the file becomes part of the archive.
    with replace_atomically(path) as temporary, TemporaryDirectory() as folder, suppress_export_warnings():
        written = Path(folder) / TORCHSCRIPT
        save_net_with_metadata(
            # Traced: scripting lists the constants of layers in an order that differs from run to run.
            convert_to_torchscript(bundle.load_network(), inputs=[example_images(bundle)], use_trace=True),
            str(written),
            include_config_vals=False,
            append_timestamp=False,
            meta_values=bundle.metadata,
            more_extra_files={"inference.json": json.dumps(config).encode()},
        )
        with zipfile.ZipFile(written) as old, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as new:
            for name in old.namelist():
                # Debug records hold the paths, and the serialization id is made from them.
                if not name.endswith((".debug_pkl", "/.data/serialization_id")):
                    new.writestr(zipfile.ZipInfo(name, date_time=EPOCH), old.read(name))


def check_parity(bundle: Bundle, folders: Sequence[Path] = ()) -> tuple[int, dict[str, float]]:
    """Compare `model.ts` and `model.onnx` with the bundle's checkpoint, on phantoms and on given images.

    Returns the number of images, and the largest absolute difference of a probability for each file name.
    Raises `ParityError` with the name of every file whose difference is above `TOLERANCE`.
    """
    models = bundle.checkpoint_path.parent
    network = bundle.load_network()
    with suppress_export_warnings():
        script = load_torchscript(models / TORCHSCRIPT, trust_code=bundle.trust_code)
    exported: dict[str, Network] = {TORCHSCRIPT: script, ONNX: load_onnx(models / ONNX)}
    count, differences = 0, dict.fromkeys(exported, 0.0)
    for images in load_parity_images(bundle, folders):
        probabilities, count = _predict(network, images), count + len(images)
        for name, other in exported.items():
            difference = np.abs(_predict(other, images) - probabilities).max()
            differences[name] = float(np.maximum(differences[name], difference))  # max() would lose a NaN
    wrong = [f"models/{name} by {value:.1e}" for name, value in differences.items() if not value <= TOLERANCE]
    if wrong:
        raise ParityError(
            f"{bundle.root}: probabilities differ from those of the checkpoint by more than {TOLERANCE:g}: "
            f"{', '.join(wrong)}. Export the bundle again."
        )
    return count, differences


def load_onnx(path: Path) -> Network:
    """Load `model.onnx` into ONNX Runtime as a function from images to logits."""
    import onnxruntime

    session = onnxruntime.InferenceSession(read_onnx(path), providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(["pred"], {"image": images.numpy()})[0])


@torch.inference_mode()
def _predict(network: Network, images: torch.Tensor) -> NDArray[np.float64]:
    return compute_probabilities(np.asarray(network(images)), None)


def load_parity_images(bundle: Bundle, folders: Sequence[Path] = ()) -> Iterator[torch.Tensor]:
    """Yield phantoms and the images of the folders, preprocessed, in batches `[N, 1, S, S]`."""
    with TemporaryDirectory() as name:
        records = [{"image": f"{name}/{number}.png"} for number in range(_PHANTOMS)]
        for number, record in enumerate(records):
            image = draw_radiograph(DEFAULT_CLASS_NAMES[number % 3], seed=number, size=256)
            Image.fromarray((image * 255).astype(np.uint8)).save(record["image"])
        records += [record for folder in folders for record in readable_images(folder)]
        for batch in DataLoader(Dataset(records, bundle.preprocessing), batch_size=_BATCH):
            yield batch["image"].as_tensor()


if __name__ == "__main__":
    exported = Bundle(sys.argv[1], trust_code=sys.argv[2:] == ["trust"])
    write_torchscript(exported, exported.checkpoint_path.with_name(TORCHSCRIPT))
    with replace_atomically(exported.checkpoint_path.with_name(ONNX)) as unfinished:
        unfinished.write_bytes(export_onnx(exported))
