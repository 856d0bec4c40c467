"""Groups of images that must stay together: images of one patient, and copies of one image."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet

from covid_monai.datasets.collections.base import Record, relative_to
from covid_monai.datasets.datalist import group_of, patient_of

_Name = TypeVar("_Name", str, Path)
_SHORTEST_NAME = 8  # a shorter file name ("0105", "IMG_01") means nothing outside its folder


def connected(pairs: Iterable[tuple[_Name, _Name]]) -> list[tuple[_Name, ...]]:
    """Join pairs into sorted groups: two names are in one group if a chain of pairs connects them.

    >>> connected([("b", "c"), ("x", "y"), ("a", "c")])
    [('a', 'b', 'c'), ('x', 'y')]
    """
    joined = DisjointSet()
    for first, second in pairs:
        joined.add(first)
        joined.add(second)
        joined.merge(first, second)
    return sorted(tuple(sorted(group)) for group in joined.subsets())


def connected_groups(items: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
    """Number the groups of datalist items that share a patient or a duplicate group.

    >>> connected_groups([{"patient": "a"}, {"patient": "b", "group": "g"}, {"patient": "c", "group": "g"}])
    array([0, 1, 1])
    """
    joined, patients = DisjointSet(), [("patient", patient_of(item)) for item in items]
    for patient, item in zip(patients, items, strict=True):
        joined.add(patient)
        if (name := group_of(item)) is not None:
            joined.add(group := ("group", name))
            joined.merge(patient, group)
    numbers: dict[tuple[str, str], int] = {}
    return np.array([numbers.setdefault(joined[patient], len(numbers)) for patient in patients], np.int64)


def name_patients(records: Sequence[Record], *, root: Path) -> list[Record]:
    """Return the records with patients unique across sources; the path stands for an unknown patient."""
    known = ((record, record.patient or relative_to(record.image, root)) for record in records)
    return [replace(record, patient=f"{record.source}:{patient}") for record, patient in known]


def link_shared_images(
    records: Sequence[Record], *, same_image: Iterable[Iterable[Path]] = ()
) -> list[Record]:
    """Return the records with one patient for all who share an image, by file name or by pixels.

    Collections copy from each other and keep the file names: `darkcovidnet` has 120 images of `ieee8023`.
    `find_duplicates` finds copies under new names: `same_image` has the groups of files that show one image;
    files without a record are ignored. The smallest of the linked names stands for all of them, so that any
    order of the records gives the same patients.
    """
    patient_of = {record.image: str(record.patient) for record in records}
    images = [[image for image in group if image in patient_of] for group in same_image]
    people = connected(
        (patient_of[group[0]], patient_of[image])
        for group in (*images, *_shared_names(records))
        for image in group[1:]
    )
    smallest = {patient: group[0] for group in people for patient in group}
    return [replace(record, patient=smallest.get(p := str(record.patient), p)) for record in records]


def _shared_names(records: Sequence[Record]) -> list[list[Path]]:
    """Return the files of each file name that occurs in more than one source."""
    by_name: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if len(record.image.stem) >= _SHORTEST_NAME:
            by_name[record.image.stem.lower()].append(record)
    shared = (alike for alike in by_name.values() if len({record.source for record in alike}) > 1)
    return [[record.image for record in alike] for alike in shared]
