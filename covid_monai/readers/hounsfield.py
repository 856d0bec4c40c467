"""Hounsfield units: what stored values of a CT mean, and which values cannot be Hounsfield units."""

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from covid_monai.core.vocabulary import RefusalReason, RefusedImage
from covid_monai.dicom.acceptance import quote_code
from covid_monai.dicom.elements import get_number, get_text
from covid_monai.dicom.grayscale import Values, all_stored_values, find_padding

AIR_HU = -1000.0
# Below this is no tissue, but what scanners write outside the field of view (-2000, -2048, -3024).
_PADDING_BELOW_HU = -1500.0
_MAX_HU = 32767.0  # metal ends at 30,710 on the extended scale; negative values read as unsigned lie above
_LUNG_HU = (-1200.0, -500.0)  # air and aerated lung
_MIN_LUNG_SHARE = 0.001
# Between padding and noisy air lies nothing, but the lung where an intercept was subtracted twice.
_EMPTY_HU, _MAX_EMPTY_SHARE = (-1990.0, -1300.0), 0.08


def hounsfield_table(ds: Dataset, *, bits_stored: int) -> Values:
    """Return the Hounsfield units of every value that `bits_stored` bits can hold, by its bit pattern.

    Pixel Padding Value becomes air.

    Raises:
        RefusedImage: NOT_HOUNSFIELD, if Rescale Slope or Intercept is missing (PS3.3 C.8.2.1 asks for both),
            if the units are others, or if no stored value could be air.
    """
    if ds.get("ModalityLUTSequence"):
        _refuse(
            "ModalityLUTSequence gives no negative value; RescaleSlope and RescaleIntercept were expected"
        )
    slope, intercept = (_get_rescale(ds, keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        _refuse("RescaleSlope is 0; another number was expected")
    units = get_text(ds, "RescaleType").upper()
    if units not in ("HU", ""):  # absent means HU (PS3.3 C.8.2.1)
        _refuse(f"RescaleType is {quote_code(units)}; HU was expected")
    signed = get_number(ds, "PixelRepresentation") == 1
    stored = all_stored_values(bits_stored, signed=signed)
    table = stored * slope + intercept
    if table.min() >= 0:
        _refuse(
            f"PixelRepresentation is {int(signed)} and RescaleIntercept is {intercept:g}, which leaves no "
            "negative value for air and lung"
        )
    table[find_padding(stored, ds)] = AIR_HU
    return table


def _get_rescale(ds: Dataset, keyword: str) -> float:
    value = get_number(ds, keyword)
    if value is None:
        _refuse(f"{keyword} is missing or malformed, so stored values are no Hounsfield units")
    return value


def fill_padding(values_hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Set values below every tissue to air, in place."""
    values_hu[values_hu < _PADDING_BELOW_HU] = AIR_HU
    return values_hu


def check_highest(values_hu: NDArray[np.float32]) -> None:
    """Refuse as NOT_HOUNSFIELD values above the range of CT: negative ones that were read as unsigned."""
    if values_hu.max() > _MAX_HU:
        _refuse(
            f"The highest value is {values_hu.max():.0f}, as of negative values stored as unsigned. Save the "
            "volume with signed values"
        )


def check_has_air(values_hu: NDArray[np.float32]) -> None:
    """Refuse as NOT_HOUNSFIELD a volume without air or lung: its values are shifted, or of another kind."""
    low, high = _LUNG_HU
    if _share(values_hu, low, high) < _MIN_LUNG_SHARE:
        _refuse(
            f"Hardly any value lies between {low:.0f} and {high:.0f}, where air and lung are (the lowest is "
            f"{values_hu.min():.0f}): values may be shifted by 1024, or are no Hounsfield units"
        )


def check_not_below_air(values_hu: NDArray[np.float32]) -> None:
    """Refuse as NOT_HOUNSFIELD a volume whose lung lies below air."""
    low, high = _EMPTY_HU
    if _share(values_hu, low, high) > _MAX_EMPTY_SHARE:
        found = f"Many values lie between {low:.0f} and {high:.0f}, below air"
        _refuse(f"{found}: 1024 may have been subtracted twice")


def _share(values_hu: NDArray[np.float32], low: float, high: float) -> float:
    """Return the share of values in a range, without the lowest one: it may be padding of any value."""
    above = np.nextafter(values_hu.min(), np.float32(np.inf))
    return np.count_nonzero((values_hu >= max(low, above)) & (values_hu < high)) / values_hu.size


def _refuse(problem: str) -> NoReturn:
    raise RefusedImage(RefusalReason.NOT_HOUNSFIELD, f"{problem}.")
