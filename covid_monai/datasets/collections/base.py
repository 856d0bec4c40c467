"""What every source shares: the record, the collection's description, and how its words are read."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from covid_monai.core.vocabulary import COVID, NORMAL, PNEUMONIA

Split = Literal["training", "validation", "test"]

SPLIT_NAMES: dict[str, Split] = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
IMAGE_SUFFIXES = frozenset(  # more than can be read: the others are reported, not passed over
    (".dcm", ".dicom", ".ima", ".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
)
_CLASS_SYNONYMS = {
    NORMAL: ("normal", "no_finding", "no_findings", "healthy"),
    PNEUMONIA: ("pneumonia", "viral_pneumonia", "bacterial_pneumonia"),
    COVID: ("covid", "covid_19", "covid19", "sars_cov_2"),
}
CLASS_OF_NAME = {synonym: name for name, synonyms in _CLASS_SYNONYMS.items() for synonym in synonyms}
_UNKNOWN_WORDS = frozenset({"", "?", "unknown", "nan", "none", "n/a"})
_YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled image of a collection.

    Args:
        image: Path of the file.
        class_name: `normal`, `pneumonia`, `covid`, or a class of the person's own.
        source: Name of the source, a key of `SOURCES`.
        patient: Identifier within the source; `None` where the collection does not say.
        split: The part of the collection's own split that the image belongs to, if there is one.
        view: Upper case as in ViewPosition: `PA`, `AP`, `AP SUPINE`, `L`, ...
        sex: `M` or `F`.
        age: In years.
    """

    image: Path
    class_name: str
    source: str
    patient: str | None = None
    split: Split | None = None
    view: str | None = None
    sex: str | None = None
    age: float | None = None

    def to_item(self, *, root: Path, class_names: Sequence[str]) -> dict[str, Any]:
        """The record as a datalist holds it: path from `root`, label as index, unknown keys left out."""
        known = {"view": self.view, "sex": self.sex, "age": self.age}
        return {
            "image": relative_to(self.image, root),
            "label": class_names.index(self.class_name),
            "patient": self.patient,
            "source": self.source,
            **{key: value for key, value in known.items() if value is not None},
        }


def relative_to(path: Path, root: Path) -> str:
    """Posix path from `root`, or the whole path where it lies elsewhere."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


@dataclass(frozen=True, slots=True)
class Excluded:
    """An image that is left out, and why: one phrase for a person."""

    image: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """A collection that `covid-monai data prepare` knows.

    Args:
        name: The word on the command line.
        layout: What its root must hold, for a person.
        licence: Licence and origin, stored in every datalist made from it.
        records: Yields the images under a root; `FileNotFoundError` or `ValueError` for a wrong root.
    """

    name: str
    layout: str
    licence: str
    records: Callable[[Path], Iterator[Record | Excluded]]


def find_root(root: Path, *, names: Sequence[str], layout: str, nested: Sequence[str] = ()) -> Path:
    """Return the folder that holds all `names`: `root` itself or one of its `nested` sub-folders.

    Archives often unpack to a folder inside a folder, hence `nested`.

    Raises:
        FileNotFoundError: If there is none; it says what was expected and what is there.
    """
    for folder in (root, *(root / inner for inner in nested)):
        if all((folder / name).exists() for name in names):
            return folder
    raise FileNotFoundError(f"{root}: expected {layout}; found {_describe(root)}")


def _describe(root: Path) -> str:
    if not root.exists():
        return "nothing: there is no such folder"
    if not root.is_dir():
        return "a file, not a folder"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{', '.join(names[:8])}{more}" if names else "an empty folder"


def image_files(folder: Path, *, recursive: bool = False) -> list[Path]:
    """List the files of a folder that may be images, sorted by name.

    DICOM files often have no suffix, or end in the last number of a UID: both count.
    """
    pattern = "**/*" if recursive else "*"
    return sorted(path for path in folder.glob(pattern) if _may_be_image(path))


def _may_be_image(path: Path) -> bool:
    if path.name.startswith(".") or path.name == "DICOMDIR" or not path.is_file():
        return False
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or not suffix.strip(".0123456789")


def read_table(path: Path, *, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a CSV file with a header; cells come stripped.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is not UTF-8 text or lacks one of `columns`; names what it has.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected a CSV file with columns {', '.join(columns)}"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="")
            header = list(reader.fieldnames or ())
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8: {error}") from error
    missing = [name for name in columns if name not in header]
    if missing:
        raise ValueError(
            f"{path}: expected a column {', '.join(missing)}; found {', '.join(header) or 'none'}"
        )
    return rows


def to_class_name(text: str) -> str:
    """Return the class that a folder or a CSV cell names.

    >>> [to_class_name(text) for text in ("NORMAL", "Covid-19", "Viral Pneumonia", "Lung Cyst")]
    ['normal', 'covid', 'pneumonia', 'lung_cyst']
    """
    name = re.sub(r"[\s_-]+", "_", text.strip().lower()).strip("_")
    return CLASS_OF_NAME.get(name, name)


def to_view(text: object) -> str | None:
    """Return a view in upper case, `None` if it says nothing.

    >>> to_view("AP  Supine"), to_view("?")
    ('AP SUPINE', None)
    """
    words = str(text if text is not None else "").split()
    return None if " ".join(words).lower() in _UNKNOWN_WORDS else " ".join(words).upper()


def to_sex(text: object) -> str | None:
    """Return `M` or `F`, `None` for anything else (PatientSex may be O).

    >>> to_sex("female"), to_sex("M"), to_sex("O")
    ('F', 'M', None)
    """
    initial = str(text or "").strip().upper()[:1]
    return initial if initial in ("M", "F") else None


def to_age(text: object) -> float | None:
    """Return an age in years from a number or a DICOM Age String (PS3.5 6.2), else `None`.

    >>> to_age("65.0"), to_age("058Y"), to_age("006M"), to_age("adult")
    (65.0, 58.0, 0.5, None)
    """
    cell = str(text if text is not None else "").strip().upper()
    match = re.fullmatch(r"(\d{1,3}(?:\.\d*)?)\s*([YMWD]?)", cell)
    if match is None:
        return None
    age = float(match[1]) * _YEARS_PER_UNIT[match[2] or "Y"]
    return round(age, 2) if age <= 120 else None  # NIH holds ages such as 412: a slip of the pen


def or_none(text: str) -> str | None:
    """Return a cell's text, `None` where it says nothing."""
    return None if text.lower() in _UNKNOWN_WORDS else text
