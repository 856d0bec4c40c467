"""Chest X-Ray Images (Pneumonia), Kermany et al. 2018: children of one to five years, official split."""

import re
from collections.abc import Iterator
from pathlib import Path

from covid_monai.datasets.collections.base import (
    Excluded,
    Record,
    Source,
    Split,
    find_root,
    image_files,
    to_class_name,
)

LAYOUT = "train/ and test/, each with NORMAL/ and PNEUMONIA/"
_PATIENT = re.compile(r"(person|IM-)(\d+)")


def patient_of(stem: str, *, split: Split) -> str | None:
    """Return the patient that a file name tells, `None` for other names.

    The number after `person` counts bacterial and viral cases each on its own, and `IM-` and `NORMAL2-IM-`
    likewise: across causes, images of one number are no more alike than images of any two numbers
    (data/README.md has the measurement), and no number with its cause is in both official parts. So the
    official test part is numbered apart. Within a part all images of a number count as one patient: too
    coarse, hence safe.

    >>> patient_of("person12_virus_38", split="training"), patient_of("NORMAL2-IM-0011-0001", split="test")
    ('person12', 'test-IM-11')
    """
    match = _PATIENT.search(stem)
    if match is None:
        return None
    return f"{'test-' if split == 'test' else ''}{match[1]}{int(match[2])}"


def records(root: Path) -> Iterator[Record | Excluded]:
    """Yield the radiographs; the original's 16 images of `val` count as training (too few to choose by)."""
    folder = find_root(
        root, names=("train", "test"), layout=LAYOUT, nested=("chest_xray", "CellData/chest_xray")
    )
    for part in ("train", "val", "test"):
        split: Split = "test" if part == "test" else "training"
        for class_folder in ("NORMAL", "PNEUMONIA"):
            if part != "val":
                find_root(folder / part, names=(class_folder,), layout=f"{class_folder}/")
            for image in image_files(folder / part / class_folder):
                patient = patient_of(image.stem, split=split)
                yield Record(image, to_class_name(class_folder), SOURCE.name, patient=patient, split=split)


SOURCE = Source(
    name="kermany",
    layout=LAYOUT,
    licence="CC BY 4.0; Kermany, Zhang, Goldbaum 2018, Mendeley Data rscbjbr9sj",
    records=records,
)
