"""An image for a viewer: the values that a window is laid over, and how the file itself wants them shown."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from covid_monai.dicom.elements import get_first_number, get_number, get_text
from covid_monai.dicom.grayscale import (
    FULL_RANGE_BITS,
    all_stored_values,
    apply_modality,
    apply_window,
    count_codes,
    find_padding,
    is_inverse,
    look_up,
    render,
    robust_range,
)
from covid_monai.dicom.pixels.decode import decode
from covid_monai.readers.radiograph import NotDicom, read_elements, read_radiograph

TOP = 65534  # the code of the highest value
PADDING = 65535  # the code of pixels that are no picture, always black


@dataclass(frozen=True)
class ViewedImage:
    """An image whose grey a viewer can change.

    Args:
        codes: Shape [h, w]; 0 is the value `low`, `TOP` the value `high`, linear between; `PADDING` is none.
        low: Lowest value of the image, after the modality step (PS3.3 C.11.1).
        high: Highest value; above `low`.
        shown: Shape [65536], grey of each code as `read_radiograph` shows the file, 0 to 255.
        center: Window center to begin with: the file's, else the middle of its robust percentiles.
        width: Window width to begin with.
        function: VOI LUT Function: LINEAR, LINEAR_EXACT or SIGMOID.
        inverse: Whether low values are bright (MONOCHROME1).
        has_window: Whether values have a meaning of their own; a picture of 8 bits knows only grey.
    """

    codes: NDArray[np.uint16]
    low: float
    high: float
    shown: NDArray[np.uint8]
    center: float
    width: float
    function: str
    inverse: bool
    has_window: bool


def read_for_viewer(path: str | Path, *, long_side: int = 1536) -> ViewedImage:
    """Read an image that `read_radiograph` has accepted.

    Args:
        path: DICOM, JPEG or PNG.
        long_side: Larger images are reduced to this many pixels, by area averaging of their values.

    Raises:
        RefusedImage: As `read_radiograph`.
        UnreadableImage: As `read_radiograph`; decoders raise other types.
    """
    try:
        ds = read_elements(path)
    except NotDicom:
        return _of_picture(path, long_side)
    if get_text(ds, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2", ""):
        return _of_picture(path, long_side)
    return _of_values(ds, long_side)


def _of_picture(path: str | Path, long_side: int) -> ViewedImage:
    image = _reduced(read_radiograph(path)[0][0], long_side)
    codes = np.rint(np.clip(image, 0, 1) * TOP).astype(np.uint16)
    grey = _grey(np.arange(TOP + 1) / TOP)
    return ViewedImage(codes, 0.0, 255.0, grey, 127.5, 255.0, "LINEAR_EXACT", inverse=False, has_window=False)


def _of_values(ds: Dataset, long_side: int) -> ViewedImage:
    pixels, bits = decode(ds)
    stored = all_stored_values(bits, signed=get_number(ds, "PixelRepresentation") == 1)
    modality, padding = apply_modality(stored, ds), find_padding(stored, ds)
    counts = count_codes(pixels, size=stored.size)
    counts[padding] = 0
    present = np.flatnonzero(counts)
    # What the file shows for every code that occurs: the one pipeline decides, whatever LUTs it holds.
    grey_of = np.zeros(stored.size, np.float32)
    grey_of[pixels] = render(pixels, ds, bits_stored=bits)
    order = present[np.argsort(modality[present], kind="stable")]
    low, high = float(modality[order[0]]), float(modality[order[-1]])
    grid = np.linspace(low, high, TOP + 1)
    shown = _grey(np.interp(grid, modality[order], grey_of[order]))
    values = _reduced(look_up(modality, pixels), long_side)
    codes = np.rint(np.clip((values - low) / (high - low), 0, 1) * TOP).astype(np.uint16)
    rows, columns = codes.shape
    hidden = cv2.resize(padding[pixels].astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST)
    codes[hidden > 0] = PADDING
    center, width, function = _first_window(ds, modality, counts, bits=bits)
    return ViewedImage(codes, low, high, shown, center, width, function, is_inverse(ds), has_window=True)


def _first_window(
    ds: Dataset, modality: NDArray[np.float64], counts: NDArray[np.integer], *, bits: int
) -> tuple[float, float, str]:
    """The file's own window where it has a valid one that is used, else one that spans what is shown."""
    center, width = get_first_number(ds, "WindowCenter"), get_first_number(ds, "WindowWidth")
    function = get_text(ds, "VOILUTFunction").upper()
    function = function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"
    if center is not None and width is not None:
        valid = apply_window(modality[:1], center=center, width=width, function=function) is not None
        if valid:
            return center, width, function
    if bits <= FULL_RANGE_BITS:
        low, high = float(modality.min()), float(modality.max())
    else:
        low, high = robust_range(modality, counts)
    return (low + high) / 2, max(high - low, 1.0), "LINEAR_EXACT"


def _reduced(image: NDArray[np.float32], long_side: int) -> NDArray[np.float32]:
    scale = long_side / max(image.shape)
    if scale >= 1:
        return image
    rows, columns = (max(1, round(side * scale)) for side in image.shape)
    return np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA))


def _grey(shown: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Bytes for the 65,535 codes, and black for padding."""
    return np.append(np.rint(np.clip(shown, 0, 1) * 255), 0).astype(np.uint8)
