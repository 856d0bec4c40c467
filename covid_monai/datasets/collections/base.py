"""What a new collection is made of: a `Source` that yields a `Record` or an `Excluded` for each image.

A collection's module finds its images with `images_by_class`, `image_files` or `read_table`. `facts_of` reads
view, sex, age and place from a row of a table. docs/add-dataset.md has an example.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

from covid_monai.core.tables import read_rows
from covid_monai.core.vocabulary import COVID, NORMAL, PNEUMONIA

Split = Literal["training", "validation", "test"]

SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "training"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# Images that the readers do not read. They are reported as unreadable, not ignored.
_OTHER_IMAGE_SUFFIXES = frozenset({".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp"})
_CLASS_OF_NAME = {
    **dict.fromkeys(("no_finding", "no_findings", "healthy"), NORMAL),
    **dict.fromkeys(("viral_pneumonia", "bacterial_pneumonia"), PNEUMONIA),
    **dict.fromkeys(("covid_19", "covid19", "sars_cov_2"), COVID),
}
_UNKNOWN_WORDS = frozenset({"", "?", "-", "unknown", "nan", "none", "null", "n/a", "na", "<na>"})
# What de-identification leaves in the place of an identifier: it is of many patients.
_NO_PATIENT = frozenset({"anonymous", "anonymized", "anonymised", "anon", "deidentified", "de-identified"})
_YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled image of a source."""

    image: Path
    class_name: str  # normal, pneumonia, covid, or a class of the person's own
    source: str = ""  # name of the source, a key of SOURCES; `Source.records` fills it in
    patient: str | None = None  # identifier within the source; None where the source does not have one
    split: Split | None = None  # part of the collection's own split that the image belongs to, if it has one
    view: str | None = None  # in upper case as in ViewPosition: PA, AP, AP SUPINE, L, ...
    sex: str | None = None  # M or F
    age: float | None = None  # years
    location: str | None = None  # place as the collection writes it: a country, a city, a hospital
    hospital: str | None = None  # hospital, or the publication that stands for it; no split divides it
    # Images that may be of the same patient, where neither the source nor a copy names this image's patient.
    beside: tuple[Path, ...] = ()
    mask: Path | None = None  # image of the same size, white where the lungs are; only segmentation reads it
    repeated: "tuple[Record, ...]" = ()  # further records of the same file
    age_group: Literal["child"] | None = None  # of a collection of children that does not tell their ages

    def to_item(self, *, root: Path, class_names: Sequence[str], group: str | None = None) -> dict[str, Any]:
        """Return the datalist item: path from `root`, label as index, without the facts that are unknown."""
        mask = None if self.mask is None else relative_to(self.mask, root)
        facts = {key: getattr(self, key) for key in FACTS} | {"mask": mask, "group": group}
        facts["age_group"] = self.age_group
        return {
            "image": relative_to(self.image, root),
            "label": class_names.index(self.class_name),
            "patient": self.patient,
            "source": self.source,
            **{key: value for key, value in facts.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class Excluded:
    """An image that is left out, and the reason as a phrase."""

    image: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """A public collection, or a form of a person's own images, that `covid-monai data prepare` reads."""

    name: str  # on the command line, and `source` of the datalist's records
    layout: str  # what its root must hold, for messages
    licence: str  # licence and origin, stored in every datalist made from it
    read: Callable[[Path], Iterator[Record | Excluded]]  # yields the images of the folder that holds `needs`
    needs: Sequence[str] = ()  # files and folders that must be in the root, or in one of its sub-folders:
    nested: Sequence[str] = ()  # archives often unpack to a folder inside a folder
    or_file: bool = False  # whether the root may be a file, which `read` then gets as it is

    def records(self, root: Path) -> Iterator[Record | Excluded]:
        """Yield the images under a root.

        Raises:
            FileNotFoundError: If the root does not have the layout.
            ValueError: If a table of the source cannot be read.
        """
        if not (self.or_file and root.is_file()):
            root = find_root(root, names=self.needs, layout=self.layout, nested=self.nested)
        for found in self.read(root):
            yield replace(found, source=self.name) if isinstance(found, Record) else found


def find_root(root: Path, *, names: Sequence[str], layout: str, nested: Sequence[str] = ()) -> Path:
    """Return the folder that holds all `names`: `root` itself or one of its `nested` sub-folders."""
    for folder in (root, *(root / inner for inner in nested)):
        if folder.is_dir() and all((folder / name).exists() for name in names):
            return folder
    raise wrong_root(root, layout)


def wrong_root(root: Path, layout: str) -> FileNotFoundError:
    """Return the error for a root that does not have the layout: what was expected, and what was found."""
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "does not exist"
        return FileNotFoundError(f"{root} {problem}. Name a folder with {layout}.")
    entries = sorted(root.iterdir(), key=lambda entry: (entry.is_file(), entry.name))
    names = [entry.name + "/" * entry.is_dir() for entry in entries[:4]]
    names += [f"and {len(entries) - 4} more"] if len(entries) > 4 else []
    return FileNotFoundError(f"{root}: expected {layout}; found {', '.join(names) or 'an empty folder'}.")


def relative_to(path: Path, root: Path) -> str:
    """Return the posix path from `root`, or the whole path if it is not below `root`."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def image_files(folder: Path, *, recursive: bool = False) -> list[Path]:
    """List the image files of a folder, sorted; none if it does not exist.

    Images of formats that are not read are in the list, so that they are reported.
    """
    # Imports pydicom, which `--help` does not need.
    from covid_monai.readers.image_files import IMAGE_SUFFIXES, find_image_files

    if not folder.is_dir():
        return []
    suffixes = IMAGE_SUFFIXES | _OTHER_IMAGE_SUFFIXES
    return sorted(find_image_files([folder], recursive=recursive, suffixes=suffixes).files)


def images_by_class(folder: Path, class_folders: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield class name and path of the images in each class folder; raise an error if one is missing."""
    find_root(folder, names=class_folders, layout="/, ".join(class_folders) + "/")
    for name in class_folders:
        yield from ((to_class_name(name), image) for image in image_files(folder / name))


def read_table(path: Path, *, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a table with a header, without spaces around the cells; it must have `columns`.

    Commas, semicolons or tabs separate the cells. The text is UTF-8, or UTF-16 with a byte order mark.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is not such a table or lacks one of `columns`; the message names the line.
    """
    if not path.is_file():
        needed = ", ".join(columns)
        raise FileNotFoundError(f"{path}: no such file. Give a CSV file with the columns {needed}.")
    text = _decode_table(path)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)  # the comma where there is none
    lines = read_rows(io.StringIO(text, newline=""), path=path, delimiter=delimiter, strip=True)
    header = next(lines, (0, []))[1]
    _check_header(path, header, columns)
    rows = []
    for number, cells in lines:
        if any(cells[len(header) :]):
            raise ValueError(
                f"{path}, line {number}: expected {len(header)} cells, found {len(cells)}. Put a cell that "
                f"contains {delimiter!r} in quotation marks."
            )
        if any(cells) and cells != header:  # tables that were joined repeat the header
            rows.append({name: cell for name, cell in zip_longest(header, cells, fillvalue="") if name})
    if not rows:
        raise ValueError(f"{path}: the table has no row below its header. Add one for each image.")
    return rows


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        noun = "column" if len(missing) == 1 else "columns"
        raise ValueError(
            f"{path}: expected the {noun} {', '.join(missing)}; found {', '.join(header) or 'none'}."
        )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: the column {twice[0]} occurs twice. Remove or rename one of them.")


def _decode_table(path: Path) -> str:
    data = path.read_bytes()
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: the text is not UTF-8. Save the table as CSV in UTF-8."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path}, line {line}: the table has a NUL byte, so it is damaged. Save it again.")
    return text


def facts_of(row: Mapping[str, str], **columns: str) -> dict[str, Any]:
    """Return the `FACTS` of a `Record` from a row of a table; unknown words become `None`.

    A location that names a hospital is the hospital, where no column has one.

    Args:
        row: Cells by column.
        columns: Column of each fact whose column has another name than the fact.

    >>> facts_of({"view": "ap supine", "sex": "female", "years": "?"}, age="years")
    {'view': 'AP SUPINE', 'sex': 'F', 'age': None, 'location': None, 'hospital': None}
    """
    facts = {key: read(row.get(columns.get(key, key))) for key, read in FACTS.items()}
    if facts["hospital"] is None and _HOSPITAL.search(facts["location"] or ""):
        facts["hospital"] = facts["location"]
    return facts


def to_class_name(text: str) -> str:
    """Return the class that a folder or a CSV cell names.

    >>> [to_class_name(text) for text in ("NORMAL", "Covid-19", "Viral Pneumonia", "Lung Cyst")]
    ['normal', 'covid', 'pneumonia', 'lung_cyst']
    """
    # Composed, because the folders of some systems have accents apart from their letters.
    name = re.sub(r"[\s_-]+", "_", normalize("NFC", text).strip().lower()).strip("_")
    return _CLASS_OF_NAME.get(name, name)


def to_view(text: str | None) -> str | None:
    """Return a view in upper case, `None` where it is unknown.

    >>> to_view("AP  Supine"), to_view("?")
    ('AP SUPINE', None)
    """
    view = known_text(" ".join((text or "").split()))
    return view and view.upper()


def to_sex(text: str | None) -> str | None:
    """Return `M` or `F`, `None` for anything else (PatientSex may be O).

    >>> to_sex("female"), to_sex("M"), to_sex("O")
    ('F', 'M', None)
    """
    initial = (text or "").strip().upper()[:1]
    return initial if initial in ("M", "F") else None


def to_age(text: str | None) -> float | None:
    """Return an age in years from a number or a DICOM Age String (PS3.5 6.2), else `None`.

    >>> to_age("65.0"), to_age("058Y"), to_age("006M"), to_age("adult")
    (65.0, 58.0, 0.5, None)
    """
    match = re.fullmatch(r"(\d{1,3}(?:\.\d*)?)\s*([YMWD]?)", (text or "").strip().upper())
    if match is None:
        return None
    age = float(match[1]) * _YEARS_PER_UNIT[match[2] or "Y"]
    return round(age, 2) if age <= 120 else None  # NIH has ages such as 412: typing errors


def known_text(value: object) -> str | None:
    """Return the text of a cell or of a JSON value, `None` where it is empty or a word such as `unknown`.

    >>> known_text(0), known_text(3.0), known_text(" P1 "), known_text("NA"), known_text(float("nan"))
    ('0', '3', 'P1', None, None)
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # data frames turn whole numbers into floats where a value is missing
    text = "" if value is None else str(value).strip()
    return None if text.lower() in _UNKNOWN_WORDS else text


def known_patient(value: object) -> str | None:
    """Return an identifier of a patient as `known_text`; `None` for a word such as `ANONYMOUS` too."""
    text = known_text(value)
    return None if text is None or text.lower() in _NO_PATIENT else text


def to_place(text: str | None) -> str | None:
    """Return a place or a hospital without superfluous spaces, `None` where it is unknown.

    >>> to_place("Barcelona,  Spain "), to_place("?"), to_place("ANONYMIZED")
    ('Barcelona, Spain', None, None)
    """
    return known_patient(" ".join((text or "").split()))


# What is known of an image besides class and patient, and how a cell of a table is read.
FACTS: dict[str, Callable[[str | None], Any]] = {
    **{"view": to_view, "sex": to_sex, "age": to_age},
    **{"location": to_place, "hospital": to_place},
}
# Elements of a DICOM header that have the same facts.
HEADER_FACTS = {
    **{"view": "ViewPosition", "sex": "PatientSex", "age": "PatientAge"},
    "hospital": "InstitutionName",
}
# Words of a location that names a hospital, in the languages of the public collections.
_HOSPITAL = re.compile(
    r"hospi|ospedal|klini[kc]|cl[ií]ni[ck]|krankenhaus|universi|health (sciences? )?cent"
    r"|(medical|medicine) (cent|school|college)|(school|college) of medicine|centro m.dico",
    re.IGNORECASE,
)
