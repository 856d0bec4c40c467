"""Removal of exact copies from the records, and groups for the images that remain of one image."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covid_monai.datasets.collections.base import Excluded, Record, relative_to
from covid_monai.datasets.datalist import COPY
from covid_monai.datasets.grouping import link_shared_images, name_patients


@dataclass(frozen=True)
class Distinct:
    """Records without exact copies, and what was found on the way."""

    records: list[Record]  # with one patient for all who share an image
    copies: Sequence[Excluded] = ()  # exact copies, which are left out
    group_of: Mapping[Path, str] = field(default_factory=dict)  # name of each file's group, if it has one
    label_conflicts: Sequence[dict[str, Any]] = ()  # groups with more than one class, as in the datalist


def remove_duplicates(records: Sequence[Record], *, root: Path, compare_pixels: bool) -> Distinct:
    """Join the patients who share an image, drop exact copies, and name the groups of near copies.

    Patients, groups and reasons name the files from `root`. Without `compare_pixels`, only file names show
    which images are the same.
    """
    named = name_patients(records, root=root)
    if not compare_pixels:
        return Distinct(link_shared_images(named))
    # Here and not above: it imports OpenCV.
    from covid_monai.datasets.duplicates.detection import find_duplicates

    found = find_duplicates([record.image for record in records])
    linked = link_shared_images(named, same_image=found.groups)
    group_of = name_groups(found.groups, root=root)
    kept, copies = drop_copies(linked, found.copies(), root=root)
    return Distinct(kept, copies, group_of, label_conflicts(linked, group_of, root=root))


def name_groups(groups: Iterable[Sequence[Path]], *, root: Path) -> dict[Path, str]:
    """Return the name of each file's group: the first file of the group, as the datalist writes it."""
    return {image: relative_to(group[0], root) for group in groups for image in group}


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


def label_conflicts(
    records: Iterable[Record], group_of: Mapping[Path, str], *, root: Path
) -> list[dict[str, Any]]:
    """Return the groups with more than one class: `group`, and `images` with `image` and `class` of each."""
    members: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.image in group_of:
            members[group_of[record.image]].append(record)
    conflicts = []
    for name, alike in sorted(members.items()):
        if len({record.class_name for record in alike}) > 1:
            images = [{"image": relative_to(each.image, root), "class": each.class_name} for each in alike]
            conflicts.append({"group": name, "images": images})
    return conflicts


def _facts(record: Record) -> int:
    return sum(fact is not None for fact in (record.view, record.sex, record.age))
