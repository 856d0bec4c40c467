"""A tree of DICOM files with a CSV file of labels by SOPInstanceUID, AccessionNumber or path."""

from collections.abc import Iterator
from pathlib import Path

from covid_monai.datasets.collections.base import (
    Excluded,
    Record,
    Source,
    find_root,
    image_files,
    or_none,
    read_table,
    to_age,
    to_class_name,
    to_sex,
    to_view,
)
from covid_monai.datasets.collections.table import to_split

KEYS = ("SOPInstanceUID", "AccessionNumber", "path")
LAYOUT = f"DICOM files at any depth and labels.csv with columns label and one of {', '.join(KEYS)}"
_ELEMENTS = ("SOPInstanceUID", "AccessionNumber", "PatientID", "PatientSex", "PatientAge", "ViewPosition")


def _header(image: Path) -> dict[str, str] | None:
    """Return the header's elements that a record needs, `None` for a file that is not DICOM."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        ds = pydicom.dcmread(image, stop_before_pixels=True, specific_tags=list(_ELEMENTS))
        return {keyword: str(ds.get(keyword) or "").strip() for keyword in _ELEMENTS}
    except (InvalidDicomError, OSError, ValueError, AttributeError, KeyError, NotImplementedError, EOFError):
        return None


def _key_column(rows: list[dict[str, str]], *, table: Path) -> str:
    header = list(rows[0]) if rows else []
    keys = [key for key in KEYS if key in header]
    if len(keys) != 1:
        raise ValueError(
            f"{table}: expected one column of {', '.join(KEYS)}; found {', '.join(header) or 'no rows'}"
        )
    return keys[0]


def _labels(table: Path) -> tuple[str, dict[str, dict[str, str]]]:
    """Return the key column and the rows by key; a key twice with two labels is an error."""
    rows = read_table(table, columns=("label",))
    key = _key_column(rows, table=table)
    by_key: dict[str, dict[str, str]] = {}
    for row in rows:
        known = by_key.setdefault(row[key], row)
        if to_class_name(known["label"]) != to_class_name(row["label"]):
            raise ValueError(f"{table}: {key} {row[key]} has two labels, {known['label']} and {row['label']}")
    return key, by_key


def records(root: Path) -> Iterator[Record | Excluded]:
    """Yield the DICOM files that have a label; a header fills in what the CSV file does not say.

    Files without a label, files that are not DICOM, and labels without a file are excluded by name.
    """
    folder = find_root(root, names=("labels.csv",), layout=LAYOUT)
    table = folder / "labels.csv"
    key, by_key = _labels(table)
    unused = set(by_key)
    for image in image_files(folder, recursive=True):
        header = _header(image)
        if header is None:
            yield Excluded(image, "not a DICOM file")
            continue
        value = image.relative_to(folder).as_posix() if key == "path" else header[key]
        row = by_key.get(value)
        unused.discard(value)
        if row is None or not or_none(row["label"]):
            yield Excluded(image, f"no label for {key} {value or '(empty)'} in labels.csv")
        else:
            yield _record(image, row=row, header=header, table=table)
    for value in sorted(unused):
        yield Excluded(table, f"labels.csv: no file with {key} {value or '(empty)'}")


def _record(image: Path, *, row: dict[str, str], header: dict[str, str], table: Path) -> Record:
    return Record(
        image,
        to_class_name(row["label"]),
        SOURCE.name,
        patient=or_none(row.get("patient", "")) or or_none(header["PatientID"]),
        split=to_split(row, table=table),
        view=to_view(row.get("view")) or to_view(header["ViewPosition"]),
        sex=to_sex(row.get("sex")) or to_sex(header["PatientSex"]),
        age=to_age(row.get("age") or header["PatientAge"]),
    )


SOURCE = Source(name="dicom-folder", layout=LAYOUT, licence="your own", records=records)
