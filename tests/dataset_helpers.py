"""Small images on disk, and folders of them."""

from pathlib import Path

import numpy as np
from PIL import Image

from covid_monai.datasets.collections import SOURCES
from covid_monai.datasets.collections.base import Excluded, Record


def write_image(path: Path, seed: int = 0) -> Path:
    """Write a small grey picture that is no blank."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (96, 96), dtype=np.uint8)
    Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC).save(path)
    return path


def write_copies(root: Path) -> Path:
    """Write six images of each class; of three covid images an exact copy and a smaller "normal" one."""
    for number, name in enumerate(("normal", "covid")):
        for index in range(6):
            write_image(root / name / f"{name}{index}.png", seed=10 * number + index)
    for index in range(3):
        with Image.open(root / "covid" / f"covid{index}.png") as image:
            image.save(root / "covid" / f"z{index}.png", compress_level=1)
            image.resize((200, 200)).save(root / "normal" / f"small{index}.jpg", quality=60)
    return root


def touch(root: Path, *names: str) -> None:
    """Make empty files of these names below a folder."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(source: str, root: Path) -> tuple[list[Record], list[Excluded]]:
    """Read a source; return its images, and those that it leaves out."""
    everything = list(SOURCES[source].records(root))
    return (
        [item for item in everything if isinstance(item, Record)],
        [item for item in everything if isinstance(item, Excluded)],
    )


def all_on_disk(source: str, root: Path) -> list[Record]:
    """Read a source that leaves nothing out, and whose files are there."""
    records, excluded = found(source, root)
    assert not excluded
    assert all(record.image.is_file() and record.source == source for record in records)
    return records
