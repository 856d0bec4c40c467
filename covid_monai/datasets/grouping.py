"""Groups of images that must stay together: images of a patient, of a hospital, and copies of an image."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet

from covid_monai.datasets.collections.base import Record, relative_to
from covid_monai.datasets.datalist import group_of, hospital_of, patient_of

_Name = TypeVar("_Name", str, Path)
_SHORTEST_NAME = 8  # a shorter file name ("0105", "IMG_01") means nothing outside its folder
# Largest part of a class's images that a group may have to be drawn for validation or test: the first that
# leaves enough images to draw from. A larger group would decide the figures of its class alone.
LARGEST_SHARES = (0.05, 0.1)
ENOUGH = 1 / 3  # of a class's images: test and validation take about a third


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


def connected_groups(
    items: Sequence[Mapping[str, Any]], *, hospitals: Collection[str] = ()
) -> NDArray[np.int64]:
    """Number the groups of datalist items that share a patient, a duplicate group or one of the `hospitals`.

    >>> connected_groups([{"patient": "a"}, {"patient": "b", "group": "g"}, {"patient": "c", "group": "g"}])
    array([0, 1, 1])
    >>> connected_groups([{"patient": p, "hospital": "h"} for p in "ab"], hospitals={"h"})
    array([0, 0])
    """
    joined, patients = DisjointSet(), [("patient", patient_of(item)) for item in items]
    for patient, item in zip(patients, items, strict=True):
        joined.add(patient)
        shared = [("group", group_of(item))]
        shared += [("hospital", name)] if (name := hospital_of(item)) in hospitals else []
        for key, value in shared:
            if value is not None:
                joined.add((key, value))
                joined.merge(patient, (key, value))
    numbers: dict[tuple[str, str], int] = {}
    return np.array([numbers.setdefault(joined[patient], len(numbers)) for patient in patients], np.int64)


def whole_hospitals(items: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the hospitals whose images can stay together when datalist items are divided.

    All do, unless the groups that may be drawn hold too few of the images of a class, see `largest_group`.
    Then the larger hospitals of this class are divided by patient.
    """
    whole = {name for item in items if (name := hospital_of(item)) is not None}
    groups = connected_groups(items, hospitals=whole).tolist()
    of_class: dict[object, list[int]] = defaultdict(list)
    for group, item in zip(groups, items, strict=True):
        of_class[item["label"]].append(group)
    for of_label in of_class.values():
        sizes = Counter(of_label)
        if largest_group(sizes.values()) is None:
            large = {group for group, size in sizes.items() if size > LARGEST_SHARES[-1] * len(of_label)}
            whole -= {hospital_of(item) for group, item in zip(groups, items, strict=True) if group in large}
    return whole


def largest_group(sizes: Collection[int], *, shares: Sequence[float] = LARGEST_SHARES) -> float | None:
    """Return the number of images that a group of a class may have to be drawn for validation or test.

    This is 5 % of the images of the class; 10 % where groups of 5 % and less hold less than a third of them;
    `None` where those of 10 % do too.

    Args:
        sizes: Images of each group of the class.
        shares: Parts of the images to try, the smallest first.

    >>> largest_group([1] * 100), largest_group([8] * 15), largest_group([80, 20])
    (5.0, 12.0, None)
    """
    images = sum(sizes)
    limits = (share * images for share in shares)
    return next((n for n in limits if sum(size for size in sizes if size <= n) >= ENOUGH * images), None)


def join_copies(
    records: Sequence[Record], *, root: Path, same_image: Iterable[Iterable[Path]] = ()
) -> list[Record]:
    """Return the records with patients unique across sources, one for all who share an image.

    Collections copy from each other and keep the file names: `darkcovidnet` has 120 images of `ieee8023`.
    `find_duplicates` finds copies under new names: `same_image` has the groups of files that show one image;
    files without a record are ignored. A copy names the patient and the hospital of an image without one. An
    image whose patient is still unknown belongs to the patients `beside` it, and alone its path stands for
    the patient. The smallest of the linked names stands for all of them, so that any order of the records
    gives the same patients.
    """
    listed = {record.image for record in records}
    groups = [[image for image in group if image in listed] for group in same_image]
    groups += _shared_names(records)
    alike = connected((group[0], image) for group in groups for image in group[1:])
    patient_of_image = _join_patients(records, alike, root=root)
    own = {record.image: record.hospital for record in records if record.hospital}
    hospitals = {
        image: min(known)
        for group in alike
        if (known := {own[i] for i in group if i in own})
        for image in group
    }
    return [
        replace(r, patient=patient_of_image[r.image], hospital=r.hospital or hospitals.get(r.image))
        for r in records
    ]


def _join_patients(
    records: Sequence[Record], alike: Iterable[Sequence[Path]], *, root: Path
) -> dict[Path, str]:
    """Return the name of the patient of each image, see `join_copies`."""
    name = {r.image: f"{r.source}:{r.patient or relative_to(r.image, root)}" for r in records}
    known = {name[record.image] for record in records if record.patient}
    pairs = [(name[group[0]], name[image]) for group in alike for image in group[1:]]
    named = known | {patient for group in connected(pairs) if known & set(group) for patient in group}
    pairs += [
        (name[record.image], name[image])
        for record in records
        if name[record.image] not in named
        for image in record.beside
        if image in name
    ]
    first = {patient: min(known & set(group) or group) for group in connected(pairs) for patient in group}
    return {image: first.get(patient, patient) for image, patient in name.items()}


def _shared_names(records: Sequence[Record]) -> list[list[Path]]:
    """Return the files of each file name that occurs in more than one source."""
    by_name: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if len(record.image.stem) >= _SHORTEST_NAME:
            by_name[record.image.stem.lower()].append(record)
    shared = (alike for alike in by_name.values() if len({record.source for record in alike}) > 1)
    return [[record.image for record in alike] for alike in shared]
