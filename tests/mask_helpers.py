"""Phantoms whose lungs are known, with a datalist, for the tests of lung masks."""

from pathlib import Path

import numpy as np
from PIL import Image

from covid_monai.datasets.datalist import SPLITS, write_datalist
from covid_monai.phantoms.radiograph import draw_lung_mask, draw_radiograph


def write_masked_phantoms(folder: Path, *, size: int = 64, images_per_split: int = 4) -> Path:
    """Write `images/N.png` and `masks/N.png`, each of a patient of its own, and return their datalist."""
    numbers = iter(range(1000))
    splits = {
        split: [_write(folder, next(numbers), size) for _ in range(images_per_split)] for split in SPLITS
    }
    return write_datalist(
        folder / "lungs.json", class_names=("normal", "covid"), splits=splits, root=folder, sources={}
    ).path


def _write(folder: Path, number: int, size: int) -> dict:
    class_name = ("normal", "covid")[number % 2]
    pictures = {
        "image": draw_radiograph(class_name, seed=number, size=size),
        "mask": draw_lung_mask(seed=number, size=size),
    }
    for kind, pixels in pictures.items():
        (folder / f"{kind}s").mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255).round().astype(np.uint8)).save(folder / f"{kind}s" / f"{number}.png")
    paths = {kind: f"{kind}s/{number}.png" for kind in pictures}
    return {**paths, "label": number % 2, "patient": f"patient {number}"}
