"""COVID-19 Image Dataset (Kaggle pranavraikokte): three classes of older collections, official split."""

import re
from collections.abc import Iterator
from pathlib import Path

from covid_monai.datasets.collections.base import SPLIT_NAMES, Record, Source, images_by_class


def patient_of(stem: str) -> str | None:
    """Return the patient in a file name, `None` for a name that is a mere number within its folder.

    The official parts share five of the COVID numbers; `a` and `b` are images of one number.

    >>> patient_of("COVID-00003b"), patient_of("auntminnie-c-2020_01_28_Vietnam"), patient_of("0105")
    ('COVID-00003', 'auntminnie-2020_01_28_Vietnam', None)
    """
    match = re.fullmatch(r"(COVID-\d+)[a-z]?", stem) or re.fullmatch(r"(auntminnie)-[a-d](-.+)", stem)
    return "".join(match.groups()) if match else None


def _read(folder: Path) -> Iterator[Record]:
    """Yield the radiographs with the official split."""
    for part in ("train", "test"):
        for class_name, image in images_by_class(folder / part, ("Covid", "Normal", "Viral Pneumonia")):
            yield Record(image, class_name, patient=patient_of(image.stem), split=SPLIT_NAMES[part])


SOURCE = Source(
    name="covid19-image-dataset",
    layout="train/ and test/, each with Covid/, Normal/ and Viral Pneumonia/",
    licence="research use; Kaggle pranavraikokte/covid19-image-dataset",
    read=_read,
    needs=("train", "test"),
    nested=("Covid19-dataset",),
)
