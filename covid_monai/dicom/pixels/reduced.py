"""DICOM pixel data at a fraction of its size, before the gray scale is applied: that many pixels fewer.

JPEG: the inverse DCT of each block gives fewer pixels, which are averages. JPEG 2000 and HTJ2K: the last
wavelet levels are left out; what remains is a low-pass picture. All others are decoded whole and averaged.
"""

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from covid_monai.dicom.elements import get_number, get_text
from covid_monai.dicom.pixels.downscaling import SPARE, shrink, shrink_factor
from covid_monai.dicom.pixels.jpeg import check_stream, first_frame

_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_JPEG2000 = tuple(f"1.2.840.10008.1.2.4.{get_number}" for get_number in (90, 91, 201, 202, 203))
_START_OF_CODESTREAM = b"\xff\x4f\xff\x51"
_FEW_BITS = 8  # of which one value more or less can be seen
_PRECISION = 42  # where a codestream says it, ISO/IEC 15444-1 A.5.1


def decode_reduced(ds: Dataset, target_size: int) -> NDArray[np.unsignedinteger] | None:
    """Decode one grey frame at a reduced size.

    Args:
        ds: A single-frame image.
        target_size: See `shrink_factor`.

    Returns:
        Codes as of `decode`, with fewer rows and columns; None where the file does not allow it: colour,
        padding (whose value must not be averaged), a stream unlike its header, damage, too few pixels.
    """
    factor = shrink_factor(int(ds.Rows), int(ds.Columns), target_size)
    grey = (
        get_number(ds, "SamplesPerPixel") == 1
        and get_text(ds, "PhotometricInterpretation") != "PALETTE COLOR"
    )
    if factor == 1 or not grey or "PixelPaddingValue" in ds:
        return None
    syntax = get_text(ds.file_meta, "TransferSyntaxUID")
    try:
        if syntax == _JPEG_BASELINE:
            return _decode_jpeg(ds, target_size)
        return _decode_jpeg2000(ds, factor) if syntax in _JPEG2000 else None
    except Exception:  # Pillow's, of many types; `decode` will say what is wrong with the file
        return None


def average_codes(
    codes: NDArray[np.unsignedinteger], ds: Dataset, *, bits_stored: int, target_size: int | None
) -> NDArray[np.unsignedinteger]:
    """Average blocks of codes as `shrink` does.

    Args:
        codes: From `decode`.
        ds: Their elements.
        bits_stored: From `decode`.
        target_size: See `shrink_factor`.

    Returns:
        Fewer codes; the same array where it is not large enough, has 8 bits or fewer, or may hold padding.
    """
    if bits_stored <= _FEW_BITS or "PixelPaddingValue" in ds:
        return codes
    if get_number(ds, "PixelRepresentation") != 1:
        return shrink(codes, target_size)
    middle = codes.dtype.type(1 << (bits_stored - 1))  # of two's complement: without it -1 lies above 0
    moved: NDArray[np.unsignedinteger] = codes ^ middle
    return shrink(moved, target_size) ^ middle


def _decode_jpeg(ds: Dataset, target_size: int) -> NDArray[np.uint8] | None:
    check_stream(ds)
    with Image.open(io.BytesIO(first_frame(ds)), formats=("JPEG",)) as image:
        if image.mode != "L" or int(ds.BitsStored) != 8:
            return None
        image.draft(None, (SPARE * target_size, SPARE * target_size))
        return np.asarray(image)


def _decode_jpeg2000(ds: Dataset, factor: int) -> NDArray[np.unsignedinteger] | None:
    """Leave out as many wavelet levels as halvings go into `factor`."""
    stream = first_frame(ds)
    signed, precision = stream[_PRECISION] >> 7, (stream[_PRECISION] & 0x7F) + 1
    same = (signed, precision) == (int(ds.PixelRepresentation), int(ds.BitsStored))
    if factor == 1 or not same or not stream.startswith(_START_OF_CODESTREAM):
        return None
    levels = factor.bit_length() - 1
    step = 2**levels
    with Image.open(io.BytesIO(stream), formats=("JPEG2000",)) as image:
        if image.size != (int(ds.Columns), int(ds.Rows)) or image.mode not in ("L", "I;16"):
            return None
        # Pillow rounds the reduced size to the nearest, the standard upwards: ask for what comes.
        image._size = tuple(-(-side // step) * step for side in image.size)
        image.reduce = levels  # type: ignore[method-assign, assignment]
        cells = np.asarray(image)
    # Pillow moves the samples to the top of their 8 or 16 bits, signed ones to the middle of the range.
    codes = np.right_shift(_centred(cells, step), cells.itemsize * 8 - precision)
    return codes ^ (1 << (precision - 1)) if signed else codes


def _centred(cells: NDArray[np.unsignedinteger], step: int) -> NDArray[np.unsignedinteger]:
    """Move the picture by half a block: wavelet samples belong to the first pixel of theirs."""
    offset = (step - 1) / (2 * step)
    move = np.array([[1.0, 0.0, offset], [0.0, 1.0, offset]])
    size = (cells.shape[1], cells.shape[0])
    return cv2.warpAffine(
        cells, move, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
