"""COVID-CXNet (Haghanifar et al. 2020): COVID-19 images of many hospitals and web pages."""

import re
from collections.abc import Iterator
from pathlib import Path

from covid_monai.core.vocabulary import COVID
from covid_monai.datasets.collections.base import Record, Source, facts_of, image_files, read_table

_COLUMNS = ("filename", "patient_id", "sex", "age", "view")
_BLOCK = 10  # images


def _number(name: str) -> int | None:
    """Return the number at the start of a name; releases differ in zeros, marks (`-`, `p`) and suffix."""
    match = re.match(r"\d+", name)
    return int(match[0]) if match else None


def _patient(number: int | None, row: dict[str, str]) -> str | None:
    """Return the patient of a row; without one, the block of ten numbers that contains the image.

    Images of a patient have neighbouring numbers: all 173 known pairs do, and 39 % of neighbours are such a
    pair. So an image without metadata cannot count as a patient of its own. A block keeps nine of ten
    neighbours together.
    """
    if row.get("patient_id"):
        return row["patient_id"]
    return None if number is None else f"block{number // _BLOCK}"


def _read(folder: Path) -> Iterator[Record]:
    """Yield the radiographs, about half of them with patient, sex, age and view."""
    rows = read_table(folder / "metadata.csv", columns=_COLUMNS)
    by_number = {_number(row["filename"]): row for row in rows}
    for image in image_files(folder / "covid19"):
        number = _number(image.name)
        row = by_number.get(number, {})
        yield Record(image, COVID, patient=_patient(number, row), **facts_of(row))


SOURCE = Source(
    name="covid-cxnet",
    layout="covid19/ and metadata.csv",
    licence="CC BY 4.0; Haghanifar et al. 2020, COVID-CXNet",
    read=_read,
    needs=("covid19", "metadata.csv"),
    nested=("chest_xray_images",),
)
