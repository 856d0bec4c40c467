"""Whether the exported forms of a network say of an image what its checkpoint says."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from covid_monai.bundle import Bundle
from covid_monai.datasets.phantom import draw_film
from covid_monai.export import forms
from covid_monai.inference.files import find_files

TOLERANCE = 1e-4  # of a probability, in float32
PHANTOMS = 12
_CLASSES = ("normal", "pneumonia", "covid")


class ParityError(ValueError):
    """An exported form that does not say what the checkpoint says."""


def check_parity(bundle: Bundle, images: torch.Tensor) -> dict[str, float]:
    """Compare `model.ts` and `model.onnx` in the bundle's `models/` with its checkpoint.

    Args:
        bundle: With all three.
        images: Preprocessed, `[N, 1, S, S]`.

    Returns:
        Name of the form to its largest absolute difference of a probability.

    Raises:
        ParityError: If one is above `TOLERANCE`; the message names all that are.
    """
    models = bundle.checkpoint_path.parent
    expected = forms.torch_probabilities(bundle.load_network(), images)
    found = {
        forms.TORCHSCRIPT: forms.torchscript_probabilities(models / forms.TORCHSCRIPT, images),
        forms.ONNX: forms.onnx_probabilities(models / forms.ONNX, images),
    }
    differences = {name: float(np.abs(rows - expected).max()) for name, rows in found.items()}
    wrong = [f"models/{name} by {value:.1e}" for name, value in differences.items() if not value <= TOLERANCE]
    if wrong:
        raise ParityError(
            f"{bundle.root}: probabilities differ from the checkpoint's by more than {TOLERANCE:g}: "
            f"{', '.join(wrong)}"
        )
    return differences


def parity_images(bundle: Bundle, folders: Sequence[Path] = ()) -> torch.Tensor:
    """Phantoms, always the same, and the images of the folders; preprocessed, `[N, 1, S, S]`."""
    with TemporaryDirectory() as name:
        drawn = [Path(name) / f"{number}.png" for number in range(PHANTOMS)]
        for number, path in enumerate(drawn):
            film = draw_film(_CLASSES[number % len(_CLASSES)], seed=number, size=256)
            Image.fromarray((film * 255).astype(np.uint8)).save(path)
        files = [*drawn, *find_files(folders).files]
        return torch.stack([_preprocessed(bundle, file) for file in files])


def _preprocessed(bundle: Bundle, file: Path) -> Any:
    return bundle.preprocessing({"image": str(file)})["image"].as_tensor()
