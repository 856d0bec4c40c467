"""Decoding of DICOM pixel data at a reduced size, before the grayscale pipeline.

JPEG: the inverse DCT of each block gives fewer pixels, which are averages. JPEG 2000 and HTJ2K: the last
wavelet levels are left out; a low-pass image remains. All other formats are decoded whole and averaged.
"""

import io
from contextlib import suppress

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from covid_monai.dicom.elements import get_number, get_text
from covid_monai.dicom.pixels.codestream import Codestream, Format, is_codestream, read_codestream
from covid_monai.dicom.pixels.decode import complete_description
from covid_monai.dicom.pixels.downscaling import OVERSAMPLING, downscale, downscale_factor

_VISIBLE_STEP_BITS = 8  # up to here a single step of the value can be seen


def decode_reduced(ds: Dataset, target_size: int) -> NDArray[np.unsignedinteger] | None:
    """Decode one grey frame at a reduced size; see `downscale_factor` for `target_size`.

    Returns:
        Codes as of `decode_pixels`, with fewer rows and columns. None where the file does not allow it:
        colour, padding (whose value must not be averaged), a stream unlike its header, damage, or too few
        pixels.
    """
    factor = downscale_factor(int(ds.Rows), int(ds.Columns), target_size)
    if factor == 1 or "PixelPaddingValue" in ds:
        return None
    with suppress(Exception):  # Pillow's, of many types; `decode_pixels` will say what is wrong
        complete_description(ds)
        palette = get_text(ds, "PhotometricInterpretation").upper() == "PALETTE COLOR"
        if not is_codestream(ds) or int(ds.SamplesPerPixel) != 1 or palette:
            return None
        stream = read_codestream(ds)
        if stream.precision != int(ds.BitsStored):  # all pixels decide which of them counts
            return None
        if stream.format is Format.JPEG:
            return _decode_jpeg(stream, target_size)
        if stream.format is Format.JPEG_2000:
            return _decode_jpeg2000(stream, factor)
    return None


def average_codes(
    codes: NDArray[np.unsignedinteger], ds: Dataset, *, bits_stored: int, target_size: int | None
) -> NDArray[np.unsignedinteger]:
    """Average blocks of codes from `decode_pixels` as `downscale` does.

    Codes of 8 bits or fewer, and those that may hold padding, are returned as they are.
    """
    if bits_stored <= _VISIBLE_STEP_BITS or "PixelPaddingValue" in ds:
        return codes
    if get_number(ds, "PixelRepresentation") != 1:
        return downscale(codes, target_size)
    middle = codes.dtype.type(1 << (bits_stored - 1))  # of two's complement: without it -1 lies above 0
    moved: NDArray[np.unsignedinteger] = codes ^ middle
    return downscale(moved, target_size) ^ middle


def _decode_jpeg(stream: Codestream, target_size: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(stream.content), formats=("JPEG",)) as image:
        image.draft(None, (OVERSAMPLING * target_size, OVERSAMPLING * target_size))
        return np.asarray(image)


def _decode_jpeg2000(stream: Codestream, factor: int) -> NDArray[np.unsignedinteger] | None:
    """Leave out at most as many wavelet levels as halvings go into `factor`."""
    step = 2 ** (factor.bit_length() - 1)
    # Pillow rounds the reduced size to the nearest, the standard upwards: take a step where both agree.
    while any(0 < side % step < step // 2 for side in (stream.rows, stream.columns)):
        step //= 2
    with Image.open(io.BytesIO(stream.content), formats=("JPEG2000",)) as image:
        if image.mode not in ("L", "I;16"):
            return None
        image.reduce = step.bit_length() - 1  # type: ignore[method-assign]
        cells = np.asarray(image)
    # Pillow moves the samples to the top of their 8 or 16 bits, signed ones to the middle of the range.
    codes = np.right_shift(_centred(cells, step), cells.itemsize * 8 - stream.precision, dtype=cells.dtype)
    return np.asarray(codes ^ (1 << (stream.precision - 1)) if stream.signed else codes)


def _centred(cells: NDArray[np.unsignedinteger], step: int) -> NDArray[np.unsignedinteger]:
    """Move the image by half a block: a wavelet sample belongs to the first pixel of its block."""
    offset = (step - 1) / (2 * step)
    move = np.array([[1.0, 0.0, offset], [0.0, 1.0, offset]])
    size = (cells.shape[1], cells.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(cells, move, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))
