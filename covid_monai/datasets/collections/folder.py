"""A person's own images: one sub-folder a class, optionally under train/, val/ and test/."""

from collections.abc import Iterator
from pathlib import Path

from covid_monai.datasets.collections.base import (
    SPLIT_NAMES,
    Excluded,
    Record,
    Source,
    Split,
    find_root,
    image_files,
    to_class_name,
)

LAYOUT = "one sub-folder a class with images in it, optionally under train/, val/ and test/"


def _parts(root: Path) -> dict[Path, Split | None]:
    """Return the folders that hold class folders, with the split each stands for."""
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir()]
    parts = {entry: SPLIT_NAMES[entry.name.lower()] for entry in folders if entry.name.lower() in SPLIT_NAMES}
    return dict(parts) if parts else {root: None}


def records(root: Path) -> Iterator[Record | Excluded]:
    """Yield every image below a class folder; patients come from the files themselves if they are DICOM."""
    if not root.is_dir():
        find_root(root, names=("",), layout=LAYOUT)
    found = False
    for part, split in _parts(root).items():
        for class_folder in sorted(entry for entry in part.iterdir() if entry.is_dir()):
            for image in image_files(class_folder, recursive=True):
                found = True
                yield Record(image, to_class_name(class_folder.name), SOURCE.name, split=split)
    if not found:
        find_root(root, names=("a class folder with images",), layout=LAYOUT)


SOURCE = Source(name="folder", layout=LAYOUT, licence="your own", records=records)
