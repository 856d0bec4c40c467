"""Whether the exported forms of a network say of an image what its checkpoint says."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from covid_monai.bundle import Bundle
from covid_monai.export import forms
from covid_monai.phantoms.radiograph import draw_radiograph
from covid_monai.readers.image_files import readable_images

TOLERANCE = 1e-4  # of a probability, in float32
PHANTOMS = 12
_CLASSES = ("normal", "pneumonia", "covid")
_BATCH = 16


class ParityError(ValueError):
    """An exported form that does not say what the checkpoint says."""


def check_parity(bundle: Bundle, folders: Sequence[Path] = ()) -> tuple[int, dict[str, float]]:
    """Compare `model.ts` and `model.onnx` in the bundle's `models/` with its checkpoint.

    Args:
        bundle: With all three.
        folders: Folders or files of images to compare on, beside twelve phantoms, always the same ones.

    Returns:
        Number of images; name of the form to its largest absolute difference of a probability.

    Raises:
        ParityError: If one is above `TOLERANCE`; the message names all that are.
        ValueError: If a folder holds no image that can be used.
    """
    models = bundle.checkpoint_path.parent
    expected = forms.of_network(bundle.load_network())
    found = {
        forms.TORCHSCRIPT: forms.of_torchscript(models / forms.TORCHSCRIPT),
        forms.ONNX: forms.of_onnx(models / forms.ONNX),
    }
    count, differences = 0, dict.fromkeys(found, 0.0)
    for images in parity_images(bundle, folders):
        rows, count = expected(images), count + len(images)
        for name, form in found.items():
            # Not max(), which would lose a NaN.
            differences[name] = float(np.maximum(differences[name], np.abs(form(images) - rows).max()))
    wrong = [f"models/{name} by {value:.1e}" for name, value in differences.items() if not value <= TOLERANCE]
    if wrong:
        raise ParityError(
            f"{bundle.root}: probabilities differ from the checkpoint's by more than {TOLERANCE:g}: "
            f"{', '.join(wrong)}"
        )
    return count, differences


def parity_images(bundle: Bundle, folders: Sequence[Path] = ()) -> Iterator[torch.Tensor]:
    """Phantoms and the images of the folders; preprocessed, in batches `[N, 1, S, S]`."""
    with TemporaryDirectory() as name:
        drawn = [str(Path(name) / f"{number}.png") for number in range(PHANTOMS)]
        for number, path in enumerate(drawn):
            image = draw_radiograph(_CLASSES[number % len(_CLASSES)], seed=number, size=256)
            Image.fromarray((image * 255).astype(np.uint8)).save(path)
        files = iter([*drawn, *(record["image"] for folder in folders for record in readable_images(folder))])
        while batch := list(islice(files, _BATCH)):
            yield torch.stack([bundle.preprocessing({"image": file})["image"].as_tensor() for file in batch])
