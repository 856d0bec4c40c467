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
from covid_monai.dicom.pixels.downscaling import OVERSAMPLING, downscale, downscale_factor
from covid_monai.dicom.pixels.jpeg import check_jpeg_stream, first_frame

_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_JPEG2000 = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203))
_START_OF_CODESTREAM = b"\xff\x4f\xff\x51"
_VISIBLE_STEP_BITS = 8  # up to here a single step of the value can be seen
_PRECISION = 42  # byte of a codestream that holds sign and bits, ISO/IEC 15444-1 A.5.1


def decode_reduced(ds: Dataset, target_size: int) -> NDArray[np.unsignedinteger] | None:
    """Decode one grey frame at a reduced size; see `downscale_factor` for `target_size`.

    Returns:
        Codes as of `decode_pixels`, with fewer rows and columns. None where the file does not allow it:
        colour, padding (whose value must not be averaged), a stream unlike its header, damage, or too few
        pixels.
    """
    factor = downscale_factor(int(ds.Rows), int(ds.Columns), target_size)
    palette = get_text(ds, "PhotometricInterpretation") == "PALETTE COLOR"
    grey = get_number(ds, "SamplesPerPixel") == 1 and not palette
    if factor == 1 or not grey or "PixelPaddingValue" in ds:
        return None
    syntax = get_text(ds.file_meta, "TransferSyntaxUID")
    with suppress(Exception):  # Pillow's, of many types; `decode_pixels` will say what is wrong
        if syntax == _JPEG_BASELINE:
            return _decode_jpeg(ds, target_size)
        if syntax in _JPEG2000:
            return _decode_jpeg2000(ds, factor)
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


def _decode_jpeg(ds: Dataset, target_size: int) -> NDArray[np.uint8] | None:
    check_jpeg_stream(ds)
    with Image.open(io.BytesIO(first_frame(ds)), formats=("JPEG",)) as image:
        if image.mode != "L" or int(ds.BitsStored) != 8:
            return None
        image.draft(None, (OVERSAMPLING * target_size, OVERSAMPLING * target_size))
        return np.asarray(image)


def _decode_jpeg2000(ds: Dataset, factor: int) -> NDArray[np.unsignedinteger] | None:
    """Leave out at most as many wavelet levels as halvings go into `factor`."""
    stream = first_frame(ds)
    signed, precision = stream[_PRECISION] >> 7, (stream[_PRECISION] & 0x7F) + 1
    as_in_header = (signed, precision) == (int(ds.PixelRepresentation), int(ds.BitsStored))
    if not as_in_header or not stream.startswith(_START_OF_CODESTREAM):
        return None
    step = 2 ** (factor.bit_length() - 1)
    # Pillow rounds the reduced size to the nearest, the standard upwards: take a step where both agree.
    while any(0 < side % step < step // 2 for side in (int(ds.Rows), int(ds.Columns))):
        step //= 2
    with Image.open(io.BytesIO(stream), formats=("JPEG2000",)) as image:
        if image.size != (int(ds.Columns), int(ds.Rows)) or image.mode not in ("L", "I;16"):
            return None
        image.reduce = step.bit_length() - 1  # type: ignore[method-assign]
        cells = np.asarray(image)
    # Pillow moves the samples to the top of their 8 or 16 bits, signed ones to the middle of the range.
    codes = np.right_shift(_centred(cells, step), cells.itemsize * 8 - precision, dtype=cells.dtype)
    return np.asarray(codes ^ (1 << (precision - 1)) if signed else codes)


def _centred(cells: NDArray[np.unsignedinteger], step: int) -> NDArray[np.unsignedinteger]:
    """Move the image by half a block: a wavelet sample belongs to the first pixel of its block."""
    offset = (step - 1) / (2 * step)
    move = np.array([[1.0, 0.0, offset], [0.0, 1.0, offset]])
    size = (cells.shape[1], cells.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(cells, move, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))
