"""What becomes of records that show one image: copies go, the rest carry their group's name."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from covid_monai.datasets.collections import Excluded, Record
from covid_monai.datasets.collections.base import relative_to

COPY = "same pixels as"


def name_groups(groups: Iterable[Sequence[Path]], *, root: Path) -> dict[Path, str]:
    """Name each group by the first of its files, as the datalist writes it; return the name by file."""
    return {image: relative_to(group[0], root) for group in groups for image in group}


def drop_copies(
    records: Sequence[Record], copies: Iterable[Collection[Path]], *, root: Path
) -> tuple[list[Record], list[Excluded]]:
    """Keep one file of those with the same pixels.

    A collection's own test images all stay, so that a published test is as published. Else the record that
    tells most (view, sex, age) stays, and of equal ones the first.

    Args:
        records: In the order of the sources.
        copies: Groups of files with the same pixels.
        root: Folder that the reason names the kept file from.
    """
    place = {record.image: number for number, record in enumerate(records)}
    reasons: dict[Path, str] = {}
    for group in copies:
        alike = [records[place[image]] for image in group if image in place]
        alike.sort(key=lambda record: (record.split != "test", -_facts(record), place[record.image]))
        for record in alike[1:]:
            if record.split != "test":
                reasons[record.image] = f"{COPY} {relative_to(alike[0].image, root)}"
    kept = [record for record in records if record.image not in reasons]
    return kept, [Excluded(image, reason) for image, reason in reasons.items()]


def label_conflicts(
    records: Iterable[Record], group_of: Mapping[Path, str], *, root: Path
) -> list[dict[str, Any]]:
    """Return the groups of one image that carry more than one class: `group`, and `images` with `class`."""
    members: dict[str, list[Record]] = {}
    for record in records:
        if record.image in group_of:
            members.setdefault(group_of[record.image], []).append(record)
    return [
        {
            "group": name,
            "images": [
                {"image": relative_to(record.image, root), "class": record.class_name} for record in images
            ],
        }
        for name, images in sorted(members.items())
        if len({record.class_name for record in images}) > 1
    ]


def _facts(record: Record) -> int:
    return sum(fact is not None for fact in (record.view, record.sex, record.age))
