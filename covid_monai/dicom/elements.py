"""Single DICOM elements read tolerantly: real files hold empty, repeated and malformed ones."""

import math

from pydicom.dataset import Dataset


def get_encoding(ds: Dataset) -> tuple[bool, bool]:
    """Implicit VR and little endian of a dataset as it was read; (False, True) if it was made in memory."""
    found = getattr(ds, "original_encoding", None)  # pydicom 3
    if found is None:
        found = (ds.read_implicit_vr, ds.read_little_endian)
    return found[0] is True, found[1] is not False


def get_text(ds: Dataset, keyword: str) -> str:
    """Value of an element as stripped text, "" if absent or malformed."""
    try:
        value = ds.get(keyword)
    except Exception:  # pydicom converts on access, and a malformed value raises many types
        return ""
    return "" if value is None else str(value).strip(" \0")


def get_numbers(ds: Dataset, keyword: str) -> list[float]:
    """All values of an element as finite numbers, [] if absent or malformed."""
    try:
        value = ds.get(keyword)
        if value is None or value == "":
            return []
        several = hasattr(value, "__iter__") and not isinstance(value, (str, bytes))
        found = [float(v) for v in (value if several else [value])]
    except Exception:  # see `text`
        return []
    return found if all(math.isfinite(v) for v in found) else []


def get_first_number(ds: Dataset, keyword: str) -> float | None:
    """First value of an element that may have several, None if absent or malformed."""
    found = get_numbers(ds, keyword)
    return found[0] if found else None


def get_number(ds: Dataset, keyword: str) -> float | None:
    """Value of an element that has one, None if absent, malformed or repeated."""
    found = get_numbers(ds, keyword)
    return found[0] if len(found) == 1 else None
