"""Removal of exact copies from the records, and groups for the images that remain of one image."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covid_monai.datasets.collections.base import Excluded, Record, relative_to
from covid_monai.datasets.datalist import COPY
from covid_monai.datasets.duplicates.label_conflicts import LabelConflicts, settle_label_conflicts
from covid_monai.datasets.grouping import link_shared_images, name_patients


@dataclass(frozen=True)
class Distinct:
    """Records without exact copies, and what was found on the way."""

    records: list[Record]  # with one patient for all who share an image
    excluded: Sequence[Excluded] = ()  # images with contradicting labels, and exact copies
    group_of: Mapping[Path, str] = field(default_factory=dict)  # name of each file's group, if it has one
    label_conflicts: Sequence[dict[str, Any]] = ()  # groups with more than one class, as in the datalist


def remove_duplicates(
    records: Sequence[Record], *, root: Path, compare_pixels: bool, treatment: LabelConflicts
) -> Distinct:
    """Join the patients who share an image, settle contradicting labels, drop exact copies, and name groups.

    Patients, groups and reasons name the files from `root`. Without `compare_pixels`, only file names show
    which images are the same. `settle_label_conflicts` explains `treatment`.
    """
    named = name_patients(records, root=root)
    groups: Sequence[Sequence[Path]] = ()
    same_pixels: Sequence[Sequence[Path]] = ()
    if compare_pixels:
        # Here and not above: it imports OpenCV.
        from covid_monai.datasets.duplicates.detection import find_duplicates

        found = find_duplicates([record.image for record in records])
        groups, same_pixels = found.groups, found.copies()
    linked = link_shared_images(named, same_image=groups)
    group_of = name_groups(groups, root=root)
    settled, contradicting, conflicts = settle_label_conflicts(
        linked, group_of, root=root, treatment=treatment
    )
    kept, copies = drop_copies(settled, same_pixels, root=root)
    return Distinct(kept, [*contradicting, *copies], group_of, conflicts)


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


def _facts(record: Record) -> int:
    return sum(fact is not None for fact in (record.view, record.sex, record.age))
