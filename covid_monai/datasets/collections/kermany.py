"""Chest X-Ray Images (Pneumonia), Kermany et al. 2018: children of one to five years, official split."""

import re
from collections.abc import Iterator
from pathlib import Path

from covid_monai.datasets.collections.base import Record, Source, Split, images_by_class

_PATIENT = re.compile(r"(person|IM-)(\d+)")


def patient_of(stem: str, *, split: Split) -> str | None:
    """Return the patient in a file name, `None` for a name without one.

    The number after `person` counts bacterial and viral cases separately, and so do `IM-` and `NORMAL2-IM-`.
    Images of one number and different causes are no more alike than images of any two numbers
    (data/README.md has the measurement), and no number with its cause is in both official parts. So the
    patients of the official test part get names of their own. Within a part all images of a number count as
    one patient, which may join several patients and is therefore safe.

    >>> patient_of("person12_virus_38", split="training"), patient_of("NORMAL2-IM-0011-0001", split="test")
    ('person12', 'test-IM-11')
    """
    match = _PATIENT.search(stem)
    if match is None:
        return None
    return f"{'test-' if split == 'test' else ''}{match[1]}{int(match[2])}"


def _read(folder: Path) -> Iterator[Record]:
    """Yield the radiographs; the 16 images of `val`, too few for a validation, count as training."""
    parts = [part for part in ("train", "val", "test") if part != "val" or (folder / part).is_dir()]
    for part in parts:
        split: Split = "test" if part == "test" else "training"
        for class_name, image in images_by_class(folder / part, ("NORMAL", "PNEUMONIA")):
            patient = patient_of(image.stem, split=split)
            yield Record(image, class_name, patient=patient, split=split, age_group="child")


SOURCE = Source(
    name="kermany",
    layout="train/ and test/, each with NORMAL/ and PNEUMONIA/",
    licence="CC BY 4.0; Kermany, Zhang, Goldbaum 2018, Mendeley Data rscbjbr9sj",
    read=_read,
    needs=("train", "test"),
    nested=("chest_xray", "CellData/chest_xray"),
)
