"""A person's own images, listed in a CSV file: `image,label[,patient][,split][,view][,sex][,age]`."""

from collections.abc import Iterator
from pathlib import Path

from covid_monai.datasets.collections.base import (
    SPLIT_NAMES,
    Excluded,
    Record,
    Source,
    Split,
    find_root,
    or_none,
    read_table,
    to_age,
    to_class_name,
    to_sex,
    to_view,
)

LAYOUT = (
    "a CSV file, or a folder with labels.csv: columns image,label and if known patient,split,view,sex,age"
)


def table_path(root: Path, *, layout: str) -> Path:
    """Return the CSV file: `root` itself, or `labels.csv` in it."""
    return root if root.is_file() else find_root(root, names=("labels.csv",), layout=layout) / "labels.csv"


def to_split(row: dict[str, str], *, table: Path) -> Split | None:
    """Return the split that a row asks for.

    Raises:
        ValueError: If the cell is filled with another word than train, validation or test.
    """
    word = row.get("split", "").lower()
    if word and word not in SPLIT_NAMES:
        raise ValueError(f"{table}: split {row['split']!r} is none of train, validation, test, empty")
    return SPLIT_NAMES.get(word)


def records(root: Path) -> Iterator[Record | Excluded]:
    """Yield the listed images; their paths are relative to the CSV file's folder, or absolute."""
    table = table_path(root, layout=LAYOUT)
    for row in read_table(table, columns=("image", "label")):
        image = table.parent / row["image"]
        if not row["image"] or not or_none(row["label"]):
            yield Excluded(image, "no label" if row["image"] else "a line without an image")
            continue
        yield Record(
            image,
            to_class_name(row["label"]),
            SOURCE.name,
            patient=or_none(row.get("patient", "")),
            split=to_split(row, table=table),
            view=to_view(row.get("view")),
            sex=to_sex(row.get("sex")),
            age=to_age(row.get("age")),
        )


SOURCE = Source(name="csv", layout=LAYOUT, licence="your own", records=records)
