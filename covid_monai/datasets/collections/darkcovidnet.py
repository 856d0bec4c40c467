"""DarkCovidNet (Ozturk et al. 2020): adult images of NIH ChestX-ray8, COVID images of ieee8023."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from covid_monai.datasets.collections.base import Record, Source, facts_of, images_by_class, read_table

_CLASS_FOLDERS = ("Covid-19", "No_findings", "Pneumonia")
_COLUMNS = ("Image Index", "Patient ID", "Patient Age", "Patient Gender", "View Position")
_NIH_NAME = re.compile(r"0*(\d+)_\d{3}")
# The place where a figure's name ends the publication or the case, and starts to count its images.
_IMAGE_OF_SERIES = re.compile(
    r"(\.pdf-|[-_.](fig|f|g|gr|main|case)-?0*\d|-day-?\d|-(admission|pa|left|right|\d-days|\d+-hours)$|(?<=\d)[a-e]$)",
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", re.IGNORECASE)
# File names without a hint of the patient; the patientid in ieee8023's metadata.csv ties these together.
_SAME_PATIENT = (
    ("171CB377", "5931B64A", "C6EA0BE5"),
    ("31BA3780", "F2DE909F"),
    ("58cb9263", "9fdd3c30"),
    ("6C94A287", "B2D20576"),
    ("7D2CF6CE", "FE9F9A5D"),
    ("8FDE8DBA", "9C34AF49"),
    ("E63574A7", "F4341CE7"),
)
_FIRST_IMAGE = {start: series[0] for series in _SAME_PATIENT for start in series}


def series_of(stem: str) -> str:
    """Return the publication's case in the file name of a COVID image, which may be several patients.

    >>> [series_of(stem) for stem in ("lancet-case2b", "ryct.2020200034.fig5-day7")]
    ['lancet', 'ryct.2020200034']
    """
    if stem[:8] in _FIRST_IMAGE:
        return _FIRST_IMAGE[stem[:8]]
    if stem.startswith("auntminnie-"):
        return "auntminnie"
    if _UUID.fullmatch(stem):
        return stem
    return _IMAGE_OF_SERIES.split(stem, maxsplit=1)[0]


def _read(folder: Path) -> Iterator[Record]:
    """Yield the radiographs, those of NIH with sex, age and view if `nih_metadata.csv` exists.

    The number before `_` is the patient of NIH. Images of one figure or follow-up may be of one patient,
    unless ieee8023 names the patients.
    """
    table = folder / "nih_metadata.csv"
    rows = read_table(table, columns=_COLUMNS) if table.exists() else []
    by_stem = {Path(row["Image Index"]).stem: row for row in rows}
    images = list(images_by_class(folder, _CLASS_FOLDERS))
    series: dict[str, list[Path]] = defaultdict(list)
    for _, image in images:
        series[series_of(image.stem)].append(image)
    for class_name, image in images:
        if nih := _NIH_NAME.fullmatch(image.stem):
            row = by_stem.get(image.stem, {})
            facts = facts_of(row, view="View Position", sex="Patient Gender", age="Patient Age")
            yield Record(image, class_name, patient=nih[1], **facts)
        else:
            beside = tuple(path for path in series[series_of(image.stem)] if path != image)
            yield Record(image, class_name, beside=beside)


SOURCE = Source(
    name="darkcovidnet",
    layout="Covid-19/, No_findings/ and Pneumonia/ (and nih_metadata.csv for sex, age and view)",
    licence="NIH ChestX-ray8: no restriction; COVID images: per image as in ieee8023; Ozturk et al. 2020",
    read=_read,
    needs=_CLASS_FOLDERS,
    nested=("X-Ray Image DataSet",),
)
