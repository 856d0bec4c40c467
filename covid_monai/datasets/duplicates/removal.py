"""Removal of exact copies and of images with contradicting labels, and groups for the images that remain."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covid_monai.core.number_format import format_count
from covid_monai.datasets.collections.base import Excluded, Record, relative_to
from covid_monai.datasets.datalist import CONFLICT, COPY
from covid_monai.datasets.grouping import join_copies

TREATMENTS = ("drop", "keep", "error")  # of images with contradicting labels


@dataclass(frozen=True)
class Distinct:
    """Records without exact copies, and what was found on the way."""

    records: list[Record]  # with one patient for all who share an image
    excluded: Sequence[Excluded] = ()  # images with contradicting labels, and exact copies
    group_of: Mapping[Path, str] = field(default_factory=dict)  # name of each file's group, if it has one
    label_conflicts: Sequence[dict[str, Any]] = ()  # groups with more than one class, as in the datalist


def remove_duplicates(
    records: Sequence[Record], *, root: Path, compare_pixels: bool, treatment: str
) -> Distinct:
    """Join the patients who share an image, settle contradicting labels, drop exact copies, and name groups.

    Patients, groups and reasons name the files from `root`. Without `compare_pixels`, only file names show
    which images are the same. `settle_label_conflicts` explains `treatment`.
    """
    groups: Sequence[Sequence[Path]] = ()
    same_pixels: Sequence[Sequence[Path]] = ()
    if compare_pixels:
        # Here and not above: it imports OpenCV.
        from covid_monai.datasets.duplicates.detection import find_duplicates

        found = find_duplicates([record.image for record in records])
        groups, same_pixels = found.groups, found.copies()
    linked = join_copies(records, root=root, same_image=groups)
    group_of = name_groups(groups, root=root)
    settled, contradicting, conflicts = settle_label_conflicts(
        linked, group_of, root=root, treatment=treatment
    )
    kept, copies = drop_copies(settled, same_pixels, root=root)
    return Distinct(kept, [*contradicting, *copies], group_of, conflicts)


def name_groups(groups: Iterable[Sequence[Path]], *, root: Path) -> dict[Path, str]:
    """Return the name of each file's group: the first file of the group, as the datalist writes it."""
    return {image: relative_to(group[0], root) for group in groups for image in group}


def settle_label_conflicts(
    records: Sequence[Record], group_of: Mapping[Path, str], *, root: Path, treatment: str
) -> tuple[list[Record], list[Excluded], list[dict[str, Any]]]:
    """Find the images with more than one class, and leave them out, keep them as they are listed, or stop.

    Nobody can know which label is right, so all files of such an image are left out by default. A patient
    whose images of two days have two classes is no conflict.

    Args:
        records: One record per file, each with its `repeated` ones.
        group_of: Name of the group of each file that has copies.
        root: Folder from which paths are named.
        treatment: One of `TREATMENTS`.

    Returns:
        The records to use; those left out; per conflict `group` and `images` (`image`, `class`, `source`).

    Raises:
        ValueError: If there is a conflict and `treatment` is `error`; the message names the first one.
    """
    members: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        name = group_of.get(record.image, relative_to(record.image, root))
        members[name] += [record, *record.repeated]
    conflicts: list[dict[str, Any]] = []
    reasons: dict[Path, str] = {}
    for name, alike in sorted(members.items()):
        classes = sorted({record.class_name for record in alike})
        if len(classes) > 1:
            reasons |= {record.image: f"{CONFLICT}: {', '.join(classes)}" for record in alike}
            listed = [(relative_to(record.image, root), record.class_name, record.source) for record in alike]
            named = [dict(zip(("image", "class", "source"), each, strict=True)) for each in listed]
            conflicts.append({"group": name, "images": named})
    if treatment == "error" and conflicts:
        images = ", ".join(f"{each['image']} ({each['class']})" for each in conflicts[0]["images"])
        raise ValueError(
            f"{format_count(len(conflicts), 'image has', 'images have')} contradicting labels; the first is "
            f"listed as {images}. Correct the labels, or leave such images out with --label-conflicts drop."
        )
    if treatment != "drop":
        return list(records), [], conflicts
    kept = [record for record in records if record.image not in reasons]
    gone = [Excluded(r.image, reasons[r.image]) for r in records if r.image in reasons]
    return kept, gone, conflicts


def drop_copies(
    records: Sequence[Record], copies: Iterable[Collection[Path]], *, root: Path
) -> tuple[list[Record], list[Excluded]]:
    """Keep one record of those whose files have the same pixels.

    A collection's own test images all stay, so that a published test stays as published. Otherwise the record
    with most of view, sex and age stays, and of equal ones the first.
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


def _facts(record: Record) -> int:
    return sum(fact is not None for fact in (record.view, record.sex, record.age))
