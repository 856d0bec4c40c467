"""Split into training, validation and test by patient, stratified by class and source, with a seed.

scikit-learn's `StratifiedGroupKFold` makes only folds of 1/k and may leave a rare class out of a fold.
`GroupShuffleSplit` does not stratify. Both change the whole split when one patient is added. The draw below
does not have these faults.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from covid_monai.core.errors import check_choice
from covid_monai.datasets.collections.base import Excluded, Record, Split

VALIDATION_ORDERS = ("random", "first")
_Order = Callable[[str], Any]  # sort key of a patient's name


@dataclass(frozen=True)
class Splits:
    """Records of the three splits, and the images that cannot be in any of them, with the reason."""

    training: tuple[Record, ...]
    validation: tuple[Record, ...]
    test: tuple[Record, ...]
    excluded: tuple[Excluded, ...]


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
    """Assign every patient to one of the three splits.

    A source's own test and validation images keep their split. Other images of such a patient join them. If
    the source has these in another part of its split they are excluded, so that a published test stays as
    published. Test is drawn from the patients outside the sources' own splits. Validation is drawn from all
    remaining patients, except in sources with a validation of their own. A class with three patients or more
    who have no other class gets one in each split that is drawn.

    `test_fraction` is the part of the patients of sources without a test of their own, `validation_fraction`
    the part of those that remain, both in [0, 1). The same seed and patients give the same split, in
    any order of the records.

    `validation_order` is `random`, or `first`: the patients whose names come first, numbers compared as
    numbers. `first` is for collections that number their patients in the order of acquisition and take one
    end of that order as their test. A validation next to the test drifts as the test does (temporal
    validation).

    Raises:
        ValueError: If a fraction is outside [0, 1), a record has no patient, or the order is unknown.
    """
    check_fractions(validation_fraction=validation_fraction, test_fraction=test_fraction)
    check_choice("validation order", validation_order, VALIDATION_ORDERS)
    patients: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: str(record.image)):
        if record.patient is None:
            raise ValueError(f"{record.image}: no patient. Give the file an identifier of its own.")
        patients[record.patient].append(record)
    assigned: dict[str, Split] = {}
    for patient, images in patients.items():
        official = {image.split for image in images}
        if official & {"test", "validation"}:
            assigned[patient] = "test" if "test" in official else "validation"
    without_split = {name: images for name, images in patients.items() if not any(r.split for r in images)}
    shuffled = _shuffled(f"{seed}/test")
    for patient in _draw(without_split, test_fraction, order=shuffled, leave=2 if validation_fraction else 1):
        assigned[patient] = "test"
    with_validation = {r.source for images in patients.values() for r in images if r.split == "validation"}
    remaining = {
        name: images
        for name, images in patients.items()
        if name not in assigned and not with_validation & {r.source for r in images}
    }
    order = _by_number if validation_order == "first" else _shuffled(f"{seed}/validation")
    for patient in _draw(remaining, validation_fraction, order=order, leave=1):
        assigned[patient] = "validation"
    return _collect(patients, assigned)


def _collect(patients: Mapping[str, Sequence[Record]], assigned: Mapping[str, Split]) -> Splits:
    kept: dict[Split, list[Record]] = {"training": [], "validation": [], "test": []}
    excluded = []
    for patient, images in sorted(patients.items()):
        split = assigned.get(patient, "training")
        is_official = any(image.split in ("test", "validation") for image in images)
        for image in images:
            if is_official and image.split not in (None, split):
                place = f"{image.split} in its collection"
                reason = f"{place}, but patient {patient} is in a collection's {split}"
                excluded.append(Excluded(image.image, reason))
            else:
                kept[split].append(image)
    return Splits(tuple(kept["training"]), tuple(kept["validation"]), tuple(kept["test"]), tuple(excluded))


def _draw(
    patients: Mapping[str, Sequence[Record]], fraction: float, *, order: _Order, leave: int
) -> set[str]:
    """Draw about `fraction` of the patients of each class, from every source in proportion.

    Rare classes go first, so that a patient of two classes counts for the rarer one. At least one patient of
    a class is drawn, provided that `leave` others remain.
    """
    if not fraction:
        return set()
    of_class: dict[str, set[str]] = defaultdict(set)
    for patient, images in patients.items():
        for image in images:
            of_class[image.class_name].add(patient)
    drawn: set[str] = set()
    settled: set[str] = set()
    for _, members in sorted(of_class.items(), key=lambda item: (len(item[1]), item[0])):
        wanted = min(max(round(fraction * len(members)), 1), max(len(members) - leave, 0))
        queue = _interleaved({name: patients[name][0].source for name in members - settled}, order=order)
        missing = min(wanted - len(members & drawn), len(queue) - leave)
        drawn.update(queue[: max(missing, 0)])
        settled |= members
    return drawn


def _interleaved(source_of: Mapping[str, str], *, order: _Order) -> list[str]:
    """Order patients so that any first part of the list has each source in proportion and in `order`."""
    ordered = sorted(source_of, key=order)
    total, seen = Counter(source_of.values()), Counter[str]()
    place = {}
    for patient in ordered:
        source = source_of[patient]
        place[patient] = (seen[source] + 0.5) / total[source]
        seen[source] += 1
    return sorted(ordered, key=place.__getitem__)


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
