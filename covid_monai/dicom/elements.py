"""Single DICOM elements, read tolerantly: real files hold empty, repeated and malformed ones."""

import math
from contextlib import suppress

from pydicom.dataset import Dataset


def get_encoding(ds: Dataset) -> tuple[bool, bool]:
    """Return whether a data set was read as implicit VR, and whether as little endian.

    A data set that was made in memory gives (False, True).
    """
    encoding = getattr(ds, "original_encoding", None)  # pydicom 3
    if encoding is None:
        encoding = (ds.read_implicit_vr, ds.read_little_endian)
    return encoding[0] is True, encoding[1] is not False


def get_text(ds: Dataset, keyword: str) -> str:
    """Return the value of an element as stripped text, "" if it is absent or malformed."""
    with suppress(Exception):  # pydicom converts on access, and a malformed value raises many types
        value = ds.get(keyword)
        return "" if value is None else str(value).strip(" \0")
    return ""


def get_numbers(ds: Dataset, keyword: str) -> list[float]:
    """Return all values of an element as finite numbers, [] if it is absent or malformed."""
    with suppress(Exception):  # see `get_text`
        value = ds.get(keyword)
        if value is None or value == "":
            return []
        several = hasattr(value, "__iter__") and not isinstance(value, (str, bytes))
        numbers = [float(v) for v in (value if several else [value])]
        return numbers if all(math.isfinite(v) for v in numbers) else []
    return []


def get_number(ds: Dataset, keyword: str) -> float | None:
    """Return the value of an element that has one, None if it is absent, malformed or repeated."""
    numbers = get_numbers(ds, keyword)
    return numbers[0] if len(numbers) == 1 else None
