"""CoronaHack Chest X-Ray Dataset (Kaggle praveengovi): images of Kermany, early COVID images of ieee8023."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from covid_monai.core.vocabulary import COVID, NORMAL, PNEUMONIA
from covid_monai.datasets.collections.base import SPLIT_NAMES, Excluded, Record, Source, find_root, read_table
from covid_monai.datasets.collections.kermany import patient_of

_TABLE = "Chest_xray_Corona_Metadata.csv"
_IMAGES = "Coronahack-Chest-XRay-Dataset"
_LABELS = ("Label", "Label_1_Virus_category", "Label_2_Virus_category")
_COLUMNS = ("X_ray_image_name", "Dataset_type", *_LABELS)


def _class_of(row: dict[str, str]) -> str | None:
    if row["Label_2_Virus_category"] == "COVID-19":
        return COVID
    if row["Label_1_Virus_category"] == "Stress-Smoking":  # two images of ARDS after smoking: no infection
        return None
    # "Pnemonia" is how the published table spells it.
    return {"Normal": NORMAL, "Pnemonia": PNEUMONIA, "Pneumonia": PNEUMONIA}.get(row["Label"])


def _read(folder: Path) -> Iterator[Record | Excluded]:
    """Yield the radiographs with the official split and Kermany's patients."""
    inner = folder / _IMAGES / _IMAGES  # the published archive repeats the folder
    images = find_root(
        inner if inner.is_dir() else folder / _IMAGES, names=("train", "test"), layout="train/, test/"
    )
    for row in read_table(folder / _TABLE, columns=_COLUMNS):
        part = row["Dataset_type"].lower()
        image = images / part / row["X_ray_image_name"]
        class_name = _class_of(row)
        split = SPLIT_NAMES.get(part)
        if class_name is None or split is None:
            label = " ".join(row[column] for column in _LABELS if row[column])
            reason = f"label {label or 'unknown'} in {row['Dataset_type'] or 'no part'} has no class"
            yield Excluded(image, reason)
        else:
            patient = patient_of(image.stem, split=split)
            age_group: Literal["child"] | None = "child" if patient else None  # Kermany's names
            yield Record(image, class_name, patient=patient, split=split, age_group=age_group)


SOURCE = Source(
    name="coronahack",
    layout=f"{_TABLE} and {_IMAGES}/ with train/ and test/",
    licence="per origin: Kermany CC BY 4.0, COVID images as in ieee8023; Kaggle praveengovi",
    read=_read,
    needs=(_TABLE, _IMAGES),
)
