"""The effective number of patients: how many patients with equally many images a set of images is worth."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from typing import TypeVar

_Key = TypeVar("_Key", bound=Hashable)


def effective_number(patients: Iterable[Hashable]) -> float:
    """Return the effective number of patients after Kish, 0 without images.

    An estimate from images whose patients count by their images has the variance of one from this number of
    patients: (sum n)² / sum n², with n the images of a patient. It is the number of patients if all have
    equally many images, and close to 1 if one patient has most of them.

    Args:
        patients: Patient of each image.

    Reference: Kish 1965, Survey Sampling, section 11.7.

    >>> effective_number(["a", "b", "c"]), round(effective_number(["a"] * 8 + ["b", "c"]), 2)
    (3.0, 1.52)
    """
    images = Counter(patients).values()
    return sum(images) ** 2 / sum(n * n for n in images) if images else 0.0


def effective_numbers(keyed_patients: Iterable[tuple[_Key, Hashable]]) -> dict[_Key, float]:
    """Return the effective number of patients of each key, such as a class, in the order of its first image.

    Args:
        keyed_patients: Key and patient of each image.

    >>> effective_numbers([("covid", "a"), ("covid", "a"), ("normal", "b"), ("normal", "c")])
    {'covid': 1.0, 'normal': 2.0}
    """
    patients: dict[_Key, list[Hashable]] = defaultdict(list)
    for key, patient in keyed_patients:
        patients[key].append(patient)
    return {key: effective_number(of_key) for key, of_key in patients.items()}
