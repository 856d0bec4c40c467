"""A person's own images: a folder for each class, a CSV file, or DICOM files with a CSV file of labels."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from covid_monai.core.errors import without_file_name
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.datasets.collections.base import (
    HEADER_FACTS,
    SPLIT_NAMES,
    Excluded,
    Record,
    Source,
    Split,
    facts_of,
    image_files,
    known_patient,
    known_text,
    read_table,
    to_class_name,
    wrong_root,
)

_LICENCE = "your own"
_FOLDER_LAYOUT = "one sub-folder per class with images in it, optionally under train/, val/ and test/"
_CSV_LAYOUT = (
    "labels.csv (or name a CSV file) with columns image,label[,patient][,split][,view][,sex][,age][,hospital]"
)
_KEYS = ("SOPInstanceUID", "AccessionNumber", "path")
_DICOM_LAYOUT = f"DICOM files at any depth and labels.csv with columns label and one of {', '.join(_KEYS)}"
_ELEMENTS = ("SOPInstanceUID", "AccessionNumber", "PatientID", *HEADER_FACTS.values())


def _read_folder(root: Path) -> Iterator[Record]:
    """Yield every image below a class folder; a DICOM file's header has its patient."""
    parts = [folder for folder in _folders(root) if folder.name.lower() in SPLIT_NAMES]
    found = False
    for part in parts or [root]:
        split = SPLIT_NAMES[part.name.lower()] if parts else None
        for class_folder in _folders(part):
            for image in image_files(class_folder, recursive=True):
                found = True
                yield Record(image, to_class_name(class_folder.name), split=split)
    if not found:
        raise wrong_root(root, _FOLDER_LAYOUT)


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir())


def _read_csv(root: Path) -> Iterator[Record | Excluded]:
    """Yield the listed images; their paths are absolute, or relative to the CSV file's folder."""
    table = root if root.is_file() else root / "labels.csv"
    for row in read_table(table, columns=("image", "label")):
        image = _locate(row["image"], table.parent)
        class_name = to_class_name(known_text(row["label"]) or "")
        if not row["image"] or not class_name:
            yield Excluded(image, "no label" if row["image"] else "a line without an image")
            continue
        patient, split = known_patient(row.get("patient")), _split(row, table=table)
        yield Record(image, class_name, patient=patient, split=split, **facts_of(row))


def _locate(text: str, folder: Path) -> Path:
    """Return the file that a cell names, also as Windows or a browser writes its path."""
    spellings = (text, text.replace("\\", "/"), unquote(text.removeprefix("file://")))
    paths = [folder / spelled for spelled in spellings]
    return next((path for path in paths if _is_file(path)), paths[0])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long for a file
        return False


def _read_dicom_folder(folder: Path) -> Iterator[Record | Excluded]:
    """Yield the DICOM files that have a label; a header fills in what the CSV file does not have.

    Files without a label, files that are not DICOM, and labels without a file are excluded by name.
    """
    table = folder / "labels.csv"
    key, rows_of = _rows_by_key(table)
    unused = set(rows_of)
    for image in image_files(folder, recursive=True):
        try:
            header = _header(image)
        except (RefusedImage, UnreadableImage) as error:
            yield Excluded(image, without_file_name(str(error), image))
            continue
        value = image.relative_to(folder).as_posix() if key == "path" else header[key]
        rows = [row for row in rows_of.get(value, ()) if known_text(row["label"])]
        unused.discard(value)
        if not rows:
            yield Excluded(image, f"no label for {key} {value or '(empty)'} in labels.csv")
        for row in rows:
            patient = known_patient(row.get("patient")) or known_patient(header["PatientID"])
            facts = facts_of(header, **HEADER_FACTS)
            facts |= {name: fact for name, fact in facts_of(row).items() if fact is not None}
            split = _split(row, table=table)
            yield Record(image, to_class_name(row["label"]), patient=patient, split=split, **facts)
    for value in sorted(unused):
        yield Excluded(table, f"labels.csv: no file with {key} {value or '(empty)'}")


def _split(row: dict[str, str], *, table: Path) -> Split | None:
    """Return the split that a row asks for; `ValueError` for another word than those of `SPLIT_NAMES`."""
    word = row.get("split", "").lower()
    if word and word not in SPLIT_NAMES:
        raise ValueError(f"{table}: unknown split {row['split']!r}. Use train, validation, test or nothing.")
    return SPLIT_NAMES.get(word)


def _rows_by_key(table: Path) -> tuple[str, dict[str, list[dict[str, str]]]]:
    """Return the key column and the rows by key; a table may contradict or repeat itself."""
    rows = read_table(table, columns=("label",))
    header = list(rows[0]) if rows else []
    keys = [key for key in _KEYS if key in header]
    if len(keys) != 1:
        raise ValueError(
            f"{table}: expected one column of {', '.join(_KEYS)}; found {', '.join(header) or 'no rows'}."
        )
    rows_of: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        value = PurePosixPath(row["path"].replace("\\", "/")).as_posix() if keys == ["path"] else row[keys[0]]
        rows_of.setdefault(value, []).append(row)
    return keys[0], rows_of


def _header(image: Path) -> dict[str, str]:
    """Return the elements of a header that a record needs; raise an error for a file that is not DICOM."""
    from covid_monai.dicom.elements import get_text  # pydicom, which `--help` does not need
    from covid_monai.dicom.file import read_dicom

    ds = read_dicom(image, stop_before_pixels=True)
    return {keyword: get_text(ds, keyword) for keyword in _ELEMENTS}


_TABLE = ("labels.csv",)
FOLDER = Source("folder", _FOLDER_LAYOUT, _LICENCE, _read_folder)
CSV = Source("csv", _CSV_LAYOUT, _LICENCE, _read_csv, needs=_TABLE, or_file=True)
DICOM_FOLDER = Source("dicom-folder", _DICOM_LAYOUT, _LICENCE, _read_dicom_folder, needs=_TABLE)
