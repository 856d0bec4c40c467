"""Preparation of a datalist: merge sources, open every file once, find duplicates, split by patient."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from covid_monai.core.errors import check_choice, unknown_choice, without_file_name
from covid_monai.core.parallel import map_in_threads
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.datasets.collections import SOURCES
from covid_monai.datasets.collections.base import (
    HEADER_FACTS,
    Excluded,
    Record,
    facts_of,
    known_patient,
    relative_to,
)
from covid_monai.datasets.datalist import SPLITS, Datalist, Item, write_datalist
from covid_monai.datasets.duplicates.removal import TREATMENTS, remove_duplicates
from covid_monai.datasets.selection import (
    check_no_class_lost,
    check_views,
    keep_classes,
    keep_views,
    order_classes,
)
from covid_monai.datasets.split import VALIDATION_ORDERS, check_fractions, split_by_patient


def parse_sources(words: Sequence[str]) -> list[tuple[str, Path]]:
    """Read `SOURCE ROOT... [SOURCE ROOT...]` from the command line.

    The word after a source is its root, even if it is the name of a source. Later, the name of a source
    starts the next group.

    Raises:
        ValueError: If the first word is not a source, or a source has no root.

    >>> parse_sources(["darkcovidnet", "darkcovidnet", "folder", "a", "b"])
    [('darkcovidnet', PosixPath('darkcovidnet')), ('folder', PosixPath('a')), ('folder', PosixPath('b'))]
    """
    if not words:
        raise ValueError(
            f"No source is given. Write SOURCE ROOT..., with SOURCE one of: {', '.join(SOURCES)}."
        )
    if words[0] not in SOURCES:
        hint = f" Example: folder {words[0]}" if Path(words[0]).exists() else ""
        raise ValueError(unknown_choice("source", words[0], SOURCES) + hint)
    pairs: list[tuple[str, Path]] = []
    source, needs_root = "", False
    for word in words:
        if word in SOURCES and not needs_root:
            source, needs_root = word, True
        else:
            pairs.append((source, Path(word)))
            needs_root = False
    if needs_root:
        raise ValueError(f"The source {source} has no root. Name a folder with {SOURCES[source].layout}.")
    return pairs


def prepare(
    sources: Sequence[tuple[str, Path]],
    *,
    output: str | Path,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.2,
    seed: int = 0,
    validation_order: str = "random",
    classes: Mapping[str, str] | None = None,
    views: Sequence[str] | None = None,
    check_duplicates: bool = True,
    label_conflicts: str = "drop",
) -> Datalist:
    """Merge sources into one datalist.

    Every file is opened once: one that is unreadable, or that `predict` would refuse by its header or
    colours, is left out with its reason, and does not stop a training an hour later. Images that occur
    twice are found: of exact copies one stays; near copies get one patient and one group, which no split
    divides.

    `sources` and `classes` are results of `parse_sources` and `parse_classes`. All classes and all frontal or
    unknown views are kept by default; `views` chooses among these. `split_by_patient` explains fractions,
    seed and order. The search for duplicates takes two minutes for 7,000 images on two cores.
    `label_conflicts` says what becomes of an image with more than one class, see `settle_label_conflicts`.

    Raises:
        FileNotFoundError: If a root does not have the layout of its source.
        ValueError: If a source is unknown, a class has no usable image, fewer than two classes are there, or
            labels contradict each other and `label_conflicts` is `error`.
    """
    check_views(views)
    check_choice("treatment of label conflicts", label_conflicts, TREATMENTS)
    check_choice("validation order", validation_order, VALIDATION_ORDERS)
    check_fractions(validation_fraction=validation_fraction, test_fraction=test_fraction)
    records, excluded = _gather(sources, classes)
    root = _common_folder([path for _, path in sources], records)
    wanted, kept, left_out = _open_wanted(records, classes, views)
    distinct = remove_duplicates(kept, root=root, compare_pixels=check_duplicates, treatment=label_conflicts)
    check_no_class_lost(wanted, distinct.records, [*left_out, *distinct.excluded])
    class_names = order_classes(distinct.records, classes)
    splits = split_by_patient(
        distinct.records,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
        validation_order=validation_order,
    )
    items = {
        split: [
            record.to_item(root=root, class_names=class_names, group=distinct.group_of.get(record.image))
            for record in getattr(splits, split)
        ]
        for split in SPLITS
    }
    excluded += [*left_out, *distinct.excluded, *splits.excluded]
    names = ", ".join(dict.fromkeys(name for name, _ in sources))
    return write_datalist(
        output,
        class_names=class_names,
        splits=items,
        root=root,
        sources=_describe(sources, items=[item for part in items.values() for item in part]),
        excluded=[{"image": relative_to(each.image, root), "reason": each.reason} for each in excluded],
        label_conflicts=distinct.label_conflicts,
        divided_hospitals=splits.divided_hospitals,
        description=f"{names}; split by patient, seed {seed}, validation {validation_order}",
    )


def _common_folder(roots: Sequence[Path], records: Sequence[Record]) -> Path:
    """Return the folder that holds the roots, and the image and mask of each record."""
    files = [path for record in records for path in (record.image, record.mask) if path]
    folders = [path.absolute() if path.is_dir() else path.absolute().parent for path in roots]
    return Path(os.path.commonpath([*folders, *(path.parent for path in files)]))


def _open_wanted(
    records: list[Record], classes: Mapping[str, str] | None, views: Sequence[str] | None
) -> tuple[list[Record], list[Record], list[Excluded]]:
    """Return the records of the classes, those of them that can be used, and what is left out."""
    wanted, other_classes = keep_classes(records, classes)
    # A missing class is an error now, not after minutes of opening files.
    order_classes([listed for record in wanted for listed in (record, *record.repeated)], classes)
    opened, unreadable = _open_all(wanted)
    kept, other_views = keep_views(opened, views)  # after opening, because a DICOM header may have the view
    return wanted, kept, [*other_classes, *unreadable, *other_views]


def _gather(
    sources: Sequence[tuple[str, Path]], classes: Mapping[str, str] | None
) -> tuple[list[Record], list[Excluded]]:
    """Return one record of each file, with its others as `repeated`, and what is excluded.

    A file may be listed several times, under one path or several. Of its records the first with a class that
    is asked for counts, with the patient and the hospital that any of them names.
    """
    listed: dict[object, list[Record]] = {}
    excluded: list[Excluded] = []
    for name, root in sources:
        check_choice("source", name, SOURCES)
        for found in SOURCES[name].records(Path(root).absolute()):
            if isinstance(found, Excluded):
                excluded.append(found)
            else:
                listed.setdefault(_identity(found.image), []).append(found)
    records = []
    for alike in listed.values():
        first = next((r for r in alike if classes is None or r.class_name in classes), alike[0])
        final = {record.class_name: record.class_name for record in alike} | dict(classes or {})
        others = [replace(r, class_name=final[r.class_name]) for r in alike if r is not first]
        patient = next((record.patient for record in (first, *others) if record.patient), None)
        hospital = next((record.hospital for record in (first, *others) if record.hospital), None)
        records.append(replace(first, patient=patient, hospital=hospital, repeated=tuple(others)))
        same = [record for record in others if record.class_name == final[first.class_name]]
        excluded += [Excluded(record.image, "the same file is listed before") for record in same]
    return records, excluded


def _identity(path: Path) -> object:
    """Return what two paths have in common if they lead to one file: links and upper case may differ."""
    try:
        status = path.stat()
    except OSError:
        return path
    return (status.st_dev, status.st_ino) if status.st_ino else path.resolve()


def _open_all(records: Sequence[Record]) -> tuple[list[Record], list[Excluded]]:
    """Return the records whose file is a readable radiograph, in their order, and the others as excluded."""
    results = list(map_in_threads(open_image, records, "opening files", total=len(records)))
    opened = [result for result in results if isinstance(result, Record)]
    return opened, [result for result in results if isinstance(result, Excluded)]


def open_image(record: Record) -> Record | Excluded:
    """Read a file whole; return its record completed from the DICOM header, or the reason to leave it out.

    An image that `predict` would refuse without looking at the training images is left out.
    """
    from covid_monai.dicom.view import check_view
    from covid_monai.readers.radiograph import read_radiograph  # decoders: only where files are opened

    try:
        _, metadata = read_radiograph(record.image)
        check_view(metadata)
    except RefusedImage as error:
        return Excluded(record.image, f"{error.reason}: {without_file_name(error.detail, record.image)}")
    except (UnreadableImage, OSError) as error:
        return Excluded(record.image, f"unreadable: {without_file_name(str(error), record.image)}")
    patient = record.patient or known_patient(metadata.get("PatientID"))
    listed = {key: getattr(record, key) for key in HEADER_FACTS if getattr(record, key) is not None}
    return replace(record, patient=patient, **(facts_of(metadata, **HEADER_FACTS) | listed))


def _describe(sources: Sequence[tuple[str, Path]], *, items: Sequence[Item]) -> dict[str, Any]:
    counts = Counter(item["source"] for item in items)
    described: dict[str, Any] = {}
    for name, root in sources:
        new = {"roots": [], "images": counts[name], "licence": SOURCES[name].licence}
        described.setdefault(name, new)["roots"].append(str(Path(root).absolute()))
    return described
