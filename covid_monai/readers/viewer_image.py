"""An image for an interactive viewer: its values, and the grayscale that its file asks for."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from covid_monai.dicom.elements import get_number, get_text
from covid_monai.dicom.file import NotDicom, read_dicom
from covid_monai.dicom.grayscale import (
    FULL_RANGE_BITS,
    Window,
    all_stored_values,
    apply_modality,
    count_codes,
    find_padding,
    find_window,
    is_inverse,
    look_up,
    render,
    robust_range,
)
from covid_monai.dicom.pixels.decode import complete_description, decode_pixels
from covid_monai.readers.radiograph import read_radiograph

TOP = 65534  # code of the highest value
PADDING = 65535  # code of padding pixels, which are always black


@dataclass(frozen=True)
class ViewerImage:
    """An image whose window a viewer can change.

    Args:
        codes: `[h, w]`; 0 is the value `low`, `TOP` the value `high`, linear between; `PADDING` is padding.
        low: Lowest value of the image, after the modality step (PS3.3 C.11.1).
        high: Highest value; above `low`.
        grey_of_code: `[65536]`, grey of each code as `read_radiograph` shows the file, 0 to 255.
        center: First window center: that of the file, else the middle of the robust percentiles.
        width: First window width.
        function: VOI LUT Function: LINEAR, LINEAR_EXACT or SIGMOID.
        inverse: Whether low values are bright (MONOCHROME1).
        has_window: Whether the values have a meaning of their own; those of JPEG and PNG are only grey.
    """

    codes: NDArray[np.uint16]
    low: float
    high: float
    grey_of_code: NDArray[np.uint8]
    center: float
    width: float
    function: str
    inverse: bool
    has_window: bool


def read_for_viewer(path: str | Path, *, long_side: int = 1536) -> ViewerImage:
    """Read an image that `read_radiograph` has accepted.

    Args:
        path: DICOM, JPEG or PNG.
        long_side: Pixels of the longer side; larger images are reduced by area averaging of their values.

    Raises:
        RefusedImage: As `read_radiograph`.
        UnreadableImage: As `read_radiograph`; decoders raise other types.
    """
    try:
        ds = read_dicom(path)
    except NotDicom:
        return _from_grey(path, long_side)
    complete_description(ds)
    if get_text(ds, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        return _from_grey(path, long_side)
    return _from_dicom(ds, long_side)


def _from_grey(path: str | Path, long_side: int) -> ViewerImage:
    image = _reduced(read_radiograph(path)[0][0], long_side)
    codes = np.rint(np.clip(image, 0, 1) * TOP).astype(np.uint16)
    grey = _grey_of_code(np.arange(TOP + 1) / TOP)
    return ViewerImage(codes, 0.0, 255.0, grey, 127.5, 255.0, "LINEAR_EXACT", inverse=False, has_window=False)


def _from_dicom(ds: Dataset, long_side: int) -> ViewerImage:
    pixels, bits = decode_pixels(ds)
    stored = all_stored_values(bits, signed=get_number(ds, "PixelRepresentation") == 1)
    modality, padding = apply_modality(stored, ds), find_padding(stored, ds)
    counts = np.where(padding, 0, count_codes(pixels, size=stored.size))
    present = np.flatnonzero(counts)
    # The one pipeline decides what the file shows for every code that occurs, whatever LUTs it holds.
    grey_of_stored = np.zeros(stored.size, np.float32)
    grey_of_stored[pixels] = render(pixels, ds, bits_stored=bits)
    order = present[np.argsort(modality[present], kind="stable")]
    low, high = float(modality[order[0]]), float(modality[order[-1]])
    grid = np.linspace(low, high, TOP + 1)
    grey = _grey_of_code(np.interp(grid, modality[order], grey_of_stored[order]))
    values = _reduced(look_up(modality, pixels), long_side)
    codes = np.rint(np.clip((values - low) / (high - low), 0, 1) * TOP).astype(np.uint16)
    rows, columns = codes.shape
    hidden = cv2.resize(padding[pixels].astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST)
    codes[hidden > 0] = PADDING
    window = find_window(ds) or _spanning_window(modality, counts, bits=bits)
    return ViewerImage(codes, low, high, grey, *window, is_inverse(ds), has_window=True)


def _spanning_window(modality: NDArray[np.float64], counts: NDArray[np.integer], *, bits: int) -> Window:
    """Return a window that spans the values shown."""
    if bits <= FULL_RANGE_BITS:
        low, high = float(modality.min()), float(modality.max())
    else:
        low, high = robust_range(modality, counts)
    return Window((low + high) / 2, max(high - low, 1.0), "LINEAR_EXACT")


def _reduced(image: NDArray[np.float32], long_side: int) -> NDArray[np.float32]:
    scale = min(1.0, long_side / max(image.shape))
    rows, columns = (max(1, round(side * scale)) for side in image.shape)
    return np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA))


def _grey_of_code(grey: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return bytes for the 65,535 codes of values, and black for padding."""
    return np.append(np.rint(np.clip(grey, 0, 1) * 255), 0).astype(np.uint8)
