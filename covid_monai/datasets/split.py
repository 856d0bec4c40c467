"""Split into training, validation and test by patient and hospital, balanced by class and source.

scikit-learn's `StratifiedGroupKFold` makes only folds of 1/k, may leave a rare class out of a fold and does
not balance patients. `GroupShuffleSplit` does not stratify. Both change the whole split when one patient is
added. The draw below does not have these faults.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from covid_monai.core.errors import check_choice
from covid_monai.datasets.collections.base import Excluded, Record, Split
from covid_monai.datasets.grouping import (
    ENOUGH,
    LARGEST_SHARES,
    connected_groups,
    largest_group,
    whole_hospitals,
)

VALIDATION_ORDERS = ("random", "first")
_LARGEST_SHARE_OF_SPLIT = 0.1
_SMALL_GROUP = 10  # images: patients of so many are not rare, and the draw must not leave them out
_Order = Callable[[str], Any]  # sort key of a patient's name
_Groups = Mapping[str, Sequence[Record]]  # records that stay together, by their first patient
_Stratum = tuple[str, str, str | None]  # images or patients, class, and source (None: all sources)


@dataclass(frozen=True)
class Splits:
    """Records of the three splits, and the images that cannot be in any of them, with the reason."""

    training: tuple[Record, ...]
    validation: tuple[Record, ...]
    test: tuple[Record, ...]
    excluded: tuple[Excluded, ...]
    divided_hospitals: tuple[str, ...] = ()  # whose patients are in more than one split


def check_fractions(**fractions: float) -> None:
    """Raise `ValueError` for a fraction outside [0, 1)."""
    for name, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise ValueError(f"{name} must be at least 0 and less than 1, but it is {fraction}.")


def split_by_patient(
    records: Iterable[Record],
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    validation_order: str = "random",
) -> Splits:
    """Assign every patient to one of the three splits, and with the patient the others of the hospital.

    A source's own test and validation images keep their split. Other images of such a patient join them. If
    the source has these in another part of its split they are excluded, so that a published test stays as
    published. Test is drawn from the patients outside the sources' own splits. Validation is drawn from all
    remaining patients, except in sources with a validation of their own. A class with three patients or more
    who have no other class gets one in each split that is drawn.

    The patients of a hospital stay together, except where a collection's own split divides them or where
    `whole_hospitals` says that a class would have too few images to draw from. Groups that are larger than
    `largest_group` says are not drawn, so they go to training.

    `test_fraction` is the part of the images and of the patients of sources without a test of their own,
    `validation_fraction` the part of those that remain, both in [0, 1). The same seed and patients give the
    same split, in any order of the records.

    `validation_order` is `random`, or `first`: the patients whose names come first, numbers compared as
    numbers. `first` is for collections that number their patients in the order of acquisition and take one
    end of that order as their test. A validation next to the test drifts as the test does (temporal
    validation).

    Raises:
        ValueError: If a fraction is outside [0, 1), a record has no patient, or the order is unknown.
    """
    check_fractions(validation_fraction=validation_fraction, test_fraction=test_fraction)
    check_choice("validation order", validation_order, VALIDATION_ORDERS)
    ordered = sorted(records, key=lambda record: str(record.image))
    groups = _group(ordered)
    assigned = {name: split for name, images in groups.items() if (split := _official_split(images))}
    without_split = {name: images for name, images in groups.items() if not any(r.split for r in images)}
    leave = 2 if validation_fraction else 1
    order = _shuffled(f"{seed}/test")
    drawable = _drawable(groups, test_fraction)
    for name in _draw(without_split, test_fraction, drawable=drawable, order=order, leave=leave):
        assigned[name] = "test"
    with_validation = {r.source for r in ordered if r.split == "validation"}
    remaining = {
        name: images
        for name, images in groups.items()
        if name not in assigned and not with_validation & {r.source for r in images}
    }
    order = _by_number if validation_order == "first" else _shuffled(f"{seed}/validation")
    drawable = _drawable(groups, validation_fraction * (1 - test_fraction))
    for name in _draw(remaining, validation_fraction, drawable=drawable, order=order, leave=1):
        assigned[name] = "validation"
    return _collect(groups, assigned)


def _group(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the records of each group that no split divides, by the first of its patients."""
    for record in records:
        if record.patient is None:
            raise ValueError(f"{record.image}: no patient. Give the file an identifier of its own.")
    items = [
        {"image": str(r.image), "patient": r.patient, "hospital": r.hospital, "label": r.class_name}
        for r in records
    ]
    whole = whole_hospitals(items)
    numbers = connected_groups(items, hospitals=whole).tolist()
    official: dict[int, set[Split]] = defaultdict(set)
    for number, record in zip(numbers, records, strict=True):
        official[number] |= {record.split} if record.split else set()
    divided = {r.hospital for n, r in zip(numbers, records, strict=True) if len(official[n]) > 1}
    groups: dict[int, list[Record]] = defaultdict(list)
    for number, record in zip(connected_groups(items, hospitals=whole - divided), records, strict=True):
        groups[number].append(record)
    return {min(str(record.patient) for record in images): images for images in groups.values()}


def _official_split(images: Sequence[Record]) -> Split | None:
    """Return the split of a collection's own that a group has to be in, `None` if it may be drawn."""
    official = {image.split for image in images}
    return "test" if "test" in official else "validation" if "validation" in official else None


def _drawable(groups: _Groups, fraction: float) -> set[str]:
    """Return the groups that are small enough in each of their classes to be drawn into `fraction` of it."""
    contents = {name: Counter(record.class_name for record in images) for name, images in groups.items()}
    sizes: dict[str, list[int]] = defaultdict(list)
    for counted in contents.values():
        for class_name, size in counted.items():
            sizes[class_name].append(size)
    limit = {class_name: _largest_drawn(of_class, fraction) for class_name, of_class in sizes.items()}
    return {name for name, counted in contents.items() if all(n <= limit[c] for c, n in counted.items())}


def _largest_drawn(sizes: Sequence[int], fraction: float) -> float:
    """Return the images of a class that a group may have: a tenth of those of the split, if that is enough.

    A larger group would decide the figures of the split alone. Where that leaves too little to draw from, see
    `largest_group`, and where that is `None`, groups up to any size are drawn until they hold a third.
    """
    of_split = max(fraction * _LARGEST_SHARE_OF_SPLIT, _SMALL_GROUP / sum(sizes))
    limit = largest_group(sizes, shares=(min(of_split, LARGEST_SHARES[0]), *LARGEST_SHARES))
    if limit is not None:
        return limit
    ordered = np.sort(sizes)
    return float(ordered[np.searchsorted(np.cumsum(ordered), ENOUGH * np.sum(ordered))])


def _collect(groups: _Groups, assigned: Mapping[str, Split]) -> Splits:
    kept: dict[Split, list[Record]] = {"training": [], "validation": [], "test": []}
    splits_of: dict[str, set[Split]] = defaultdict(set)
    excluded = []
    for name, images in sorted(groups.items()):
        split = assigned.get(name, "training")
        is_official = any(image.split in ("test", "validation") for image in images)
        for image in images:
            if is_official and image.split not in (None, split):
                place = f"{image.split} in its collection"
                reason = f"{place}, but patient {image.patient} is in a collection's {split}"
                excluded.append(Excluded(image.image, reason))
                continue
            kept[split].append(image)
            if image.hospital:
                splits_of[image.hospital].add(split)
    divided = tuple(sorted(name for name, splits in splits_of.items() if len(splits) > 1))
    return Splits(
        **{split: tuple(images) for split, images in kept.items()},
        excluded=tuple(excluded),
        divided_hospitals=divided,
    )


def _draw(
    groups: _Groups, fraction: float, *, drawable: Collection[str], order: _Order, leave: int
) -> set[str]:
    """Draw about `fraction` of the images and of the patients of each class, from every source in proportion.

    Of the groups that are not `drawable` none is drawn; the others make up for their class. At least one
    group of a class is drawn, provided that `leave` others remain.
    """
    if not fraction:
        return set()
    draw = _Draw(groups, sorted(groups.keys() & set(drawable), key=order), fraction=fraction, leave=leave)
    for name in draw.queue:
        if draw.improves(name, by_source=False) and draw.improves(name, by_source=True):
            draw.take(name)
    for name in draw.queue:  # what the sources' shares lose by rounding
        if name not in draw.drawn and draw.improves(name, by_source=False):
            draw.take(name)
    for class_name in draw.rarest_first():
        members = [name for name in draw.queue if class_name in draw.classes[name]]
        if members and not draw.drawn & set(members):
            draw.take(members[0])
    return draw.drawn


class _Draw:
    """The groups drawn so far, and the images and patients that are missing in each class and source."""

    def __init__(self, groups: _Groups, queue: Sequence[str], *, fraction: float, leave: int) -> None:
        self.queue = queue
        self.drawn: set[str] = set()
        self.classes = {name: {record.class_name for record in images} for name, images in groups.items()}
        self._left = Counter(class_name for of_group in self.classes.values() for class_name in of_group)
        self._leave = leave
        self._contents = {name: _contents(images) for name, images in groups.items()}
        there, free = _total(self._contents.values()), _total(self._contents[name] for name in queue)
        self._missing = {}
        for (kind, class_name, source), amount in free.items():
            share = fraction * there[kind, class_name, None] / free[kind, class_name, None]
            self._missing[kind, class_name, source] = amount * min(share, max(fraction, 0.5))
        self._free = free

    def improves(self, name: str, *, by_source: bool) -> bool:
        """Tell whether the drawn images and patients come closer to the wanted ones with this group.

        The measure is the sum of the squared differences, each divided by the size of its stratum.
        """
        strata = {key: n for key, n in self._contents[name].items() if by_source == (key[2] is not None)}
        return sum(n * (n - 2 * self._missing[key]) / self._free[key] for key, n in strata.items()) < 0

    def take(self, name: str) -> None:
        """Draw a group unless too few of one of its classes would remain."""
        if all(self._left[class_name] > self._leave for class_name in self.classes[name]):
            self.drawn.add(name)
            self._left.subtract(self.classes[name])
            for key, n in self._contents[name].items():
                self._missing[key] -= n

    def rarest_first(self) -> list[str]:
        """Return the classes, that with the fewest groups first."""
        return sorted(self._left, key=lambda name: (self._left[name], name))


def _contents(images: Sequence[Record]) -> Counter[_Stratum]:
    """Count the images and patients of a group by class, and by class and source."""
    strata = [(image.class_name, source, image) for image in images for source in (None, image.source)]
    counted = Counter(("images", class_name, source) for class_name, source, _ in strata)
    patients = {(class_name, source, image.patient) for class_name, source, image in strata}
    counted.update(("patients", class_name, source) for class_name, source, _ in patients)
    return counted


def _total(contents: Iterable[Counter[_Stratum]]) -> Counter[_Stratum]:
    total: Counter[_Stratum] = Counter()
    for counted in contents:
        total.update(counted)
    return total


def _shuffled(key: str) -> _Order:
    """Return the sort key of a random order: a hash, so that another patient leaves the others in order."""
    return lambda patient: hashlib.sha256(f"{key}/{patient}".encode()).digest()


def _by_number(patient: str) -> list[tuple[bool, int, str]]:
    """Return the sort key of a natural order, in which numbers are compared as numbers.

    >>> sorted(["a:IM-115", "a:IM-9", "a:person2"], key=_by_number)
    ['a:IM-9', 'a:IM-115', 'a:person2']
    """
    parts = re.split(r"(\d+)", patient)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
