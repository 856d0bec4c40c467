"""Merge collections, open every file once, split by patient, write the datalist."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covid_monai.core.errors import unknown_choice
from covid_monai.datasets.collections import SOURCES, Excluded, Record
from covid_monai.datasets.collections.base import relative_to
from covid_monai.datasets.datalist import SPLITS, Datalist, Item, write_datalist
from covid_monai.datasets.duplicates.selection import drop_copies, label_conflicts, name_groups
from covid_monai.datasets.opening import open_all
from covid_monai.datasets.patients import link_shared_images, name_patients
from covid_monai.datasets.selection import check_no_class_lost, keep_classes, keep_views, order_classes
from covid_monai.datasets.split import ValidationOrder, check_fractions, split_by_patient


def parse_sources(tokens: Sequence[str]) -> list[tuple[str, Path]]:
    """Read `SOURCE ROOT... [SOURCE ROOT...]` from the command line.

    The word after a source is its root, even if it is called like a source; later, a source's name starts the
    next group.

    Raises:
        ValueError: If the first word is no source, or a source has no root.

    >>> parse_sources(["darkcovidnet", "darkcovidnet", "folder", "a", "b"])
    [('darkcovidnet', PosixPath('darkcovidnet')), ('folder', PosixPath('a')), ('folder', PosixPath('b'))]
    """
    if not tokens:
        raise ValueError(f"no source given: expected SOURCE ROOT..., with SOURCE one of {', '.join(SOURCES)}")
    if tokens[0] not in SOURCES:
        raise ValueError(unknown_choice("source", tokens[0], SOURCES))
    pairs: list[tuple[str, Path]] = []
    source, needs_root = "", False
    for token in tokens:
        if token in SOURCES and not needs_root:
            source, needs_root = token, True
        else:
            pairs.append((source, Path(token)))
            needs_root = False
    if needs_root:
        raise ValueError(f"source {source} has no root: expected {SOURCES[source].layout}")
    return pairs


def prepare(
    sources: Sequence[tuple[str, Path]],
    *,
    output: str | Path,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.2,
    seed: int = 0,
    validation_order: ValidationOrder = "random",
    classes: Mapping[str, str] | Sequence[str] | None = None,
    views: Sequence[str] | None = None,
    check_duplicates: bool = True,
    workers: int | None = None,
) -> Datalist:
    """Merge `sources` into one datalist.

    Every file is opened once: what cannot be read is left out with the reason, not found an hour into
    training. Images that occur twice are found: of exact copies one stays, near ones become one patient and
    one group, which no split divides.

    Args:
        sources: Names out of `SOURCES` with a root each, as `parse_sources` gives them.
        output: The datalist to write.
        validation_fraction: Part of the patients outside test, in [0, 1).
        test_fraction: Part of the patients of collections without their own test, in [0, 1).
        seed: Of the split.
        validation_order: As `split_by_patient` has it.
        classes: Keep these only, in this order; a mapping merges (`parse_classes`). All by default.
        views: Keep these only, such as `PA`. By default all frontal and all unknown views: lateral ones go.
        check_duplicates: Look for the same image under two names; two minutes for 7,000 images on two cores.
        workers: Threads that open files; the number of processors by default.

    Raises:
        FileNotFoundError: If a root does not hold what its source expects.
        ValueError: If a source is unknown, a class has no image or none that can be used, or fewer than two
            classes are there.
    """
    check_fractions(validation_fraction=validation_fraction, test_fraction=test_fraction)
    class_map = _class_map(classes)
    records, excluded = _gather(sources)
    root = _common_root([path for _, path in sources], images=[record.image for record in records])
    asked, other_classes = keep_classes(records, class_map)
    order_classes(asked, class_map)  # an absent class is an error now, not after minutes of opening files
    opened, unreadable = open_all(asked, workers=workers)
    kept, other_views = keep_views(opened, views)  # after opening: a DICOM header may tell the view
    distinct = _without_copies(kept, root=root, check_duplicates=check_duplicates, workers=workers)
    check_no_class_lost(asked, distinct.records, [*unreadable, *other_views, *distinct.copies])
    class_names = order_classes(distinct.records, class_map)
    splits = split_by_patient(
        distinct.records,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
        validation_order=validation_order,
    )
    items = {
        name: [
            _to_item(record, distinct.group_of, root=root, class_names=class_names)
            for record in getattr(splits, name)
        ]
        for name in SPLITS
    }
    return write_datalist(
        output,
        class_names=class_names,
        splits=items,
        root=root,
        sources=_describe(sources, items=[item for part in items.values() for item in part]),
        excluded=[
            {"image": relative_to(left_out.image, root), "reason": left_out.reason}
            for left_out in (
                *(*excluded, *other_classes, *unreadable, *other_views),
                *(*distinct.copies, *splits.excluded),
            )
        ],
        label_conflicts=distinct.label_conflicts,
        description=f"{', '.join(dict.fromkeys(name for name, _ in sources))}; split by patient, "
        f"seed {seed}, validation {validation_order}",
    )


@dataclass(frozen=True)
class _Distinct:
    """Records without copies, by whom they are linked, and what was found on the way."""

    records: list[Record]
    copies: list[Excluded]
    group_of: Mapping[Path, str]
    label_conflicts: list[Item]


def _without_copies(
    records: Sequence[Record], *, root: Path, check_duplicates: bool, workers: int | None
) -> _Distinct:
    named = name_patients(records, root=root)
    if not check_duplicates:
        return _Distinct(link_shared_images(named), copies=[], group_of={}, label_conflicts=[])
    from covid_monai.datasets.duplicates.find import (
        find_duplicates,  # imports OpenCV: only where it is needed
    )

    found = find_duplicates([record.image for record in records], workers=workers)
    linked = link_shared_images(named, same_image=found.groups)
    group_of = name_groups(found.groups, root=root)
    kept, copies = drop_copies(linked, found.copies(), root=root)
    return _Distinct(kept, copies, group_of, label_conflicts(linked, group_of, root=root))


def _to_item(record: Record, group_of: Mapping[Path, str], *, root: Path, class_names: Sequence[str]) -> Item:
    item = record.to_item(root=root, class_names=class_names)
    return {**item, "group": group_of[record.image]} if record.image in group_of else item


def _class_map(classes: Mapping[str, str] | Sequence[str] | None) -> Mapping[str, str] | None:
    if classes is None or isinstance(classes, Mapping):
        return classes
    return {name: name for name in classes}


def _gather(sources: Sequence[tuple[str, Path]]) -> tuple[list[Record], list[Excluded]]:
    """Return every image once; a path that comes again is left out."""
    records: list[Record] = []
    excluded: list[Excluded] = []
    seen: set[Path] = set()
    for name, root in sources:
        if name not in SOURCES:
            raise ValueError(unknown_choice("source", name, SOURCES))
        for found in SOURCES[name].records(Path(root).absolute()):
            if isinstance(found, Excluded):
                excluded.append(found)
            elif found.image.resolve() in seen:
                excluded.append(Excluded(found.image, "the same file is listed before"))
            else:
                seen.add(found.image.resolve())
                records.append(found)
    return records, excluded


def _common_root(roots: Sequence[Path], *, images: Sequence[Path]) -> Path:
    """Return the folder that all image paths of the datalist are relative to."""
    folders = [root.absolute() if root.is_dir() else root.absolute().parent for root in roots]
    return Path(os.path.commonpath([*folders, *(image.parent for image in images)]))


def _describe(sources: Sequence[tuple[str, Path]], *, items: Sequence[Item]) -> dict[str, Any]:
    counts = Counter(item["source"] for item in items)
    return {
        name: {
            "roots": [str(Path(root).absolute()) for other, root in sources if other == name],
            "images": counts[name],
            "licence": SOURCES[name].licence,
        }
        for name in dict.fromkeys(name for name, _ in sources)
    }
