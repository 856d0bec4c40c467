"""Cut off what stands beside the pixel values in pixel data, or say that a person must look at it.

Pixel values are not altered.
"""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import get_expected_length

from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.deidentify.compressed_frames import NotCleaned, clean_frame
from covid_monai.deidentify.run_manifest import Refused, Review
from covid_monai.dicom.acceptance import PIXEL_KEYWORDS
from covid_monai.dicom.pixels.codestream import RLE, split_frames
from covid_monai.dicom.pixels.decode import decode_rle_frame

_CELL_BITS = {"PixelData": (1, 8, 16, 32, 64), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}
_LONGEST_OFFSET_TABLE = 2**32 - 1  # bytes that a Basic Offset Table can point across


def clean_pixels(ds: Dataset) -> tuple[bool, set[Review]]:
    """Clean the pixel data of a data set in place: bytes after them, and around and inside codestreams.

    Returns:
        Whether the bytes are others than before, and why a person must look at what is left.

    Raises:
        Refused: The pixel data are shorter than the header says.
    """
    keyword, *others = [each for each in PIXEL_KEYWORDS if each in ds]
    for other in others:  # an image has one kind of pixels (PS3.3 C.7.6.24)
        del ds[other]
    element = ds[keyword]
    before, review = element.value or b"", set[Review]()
    try:
        if ds.file_meta.TransferSyntaxUID.is_encapsulated:
            element.value = _clean_encapsulated(ds, review)
        else:
            element.value = _clean_plain(ds, before, keyword)
            if keyword == "PixelData":
                review |= _find_unused_bits(element.value, ds, ">" if _is_big_endian(ds) else "<")
    except (
        NotCleaned,
        UnreadableImage,
        AttributeError,
        TypeError,
        ValueError,
    ):  # elements that are no numbers
        review.add("pixels_not_cleaned")
    return element.value != before, review


def _clean_encapsulated(ds: Dataset, review: set[Review]) -> bytes:
    """Return the frames with new offset tables, and no other fragment."""
    rle = ds.file_meta.TransferSyntaxUID == RLE
    frames = [_renew_rle(frame, ds, review) if rle else clean_frame(frame) for frame in split_frames(ds)]
    return encapsulate(frames, has_bot=sum(map(len, frames)) + 9 * len(frames) < _LONGEST_OFFSET_TABLE)


def _renew_rle(frame: bytes, ds: Dataset, review: set[Review]) -> bytes:
    """Return the frame coded again, because an RLE frame may hold anything behind its segments."""
    from rle.utils import encode_pixel_data

    cells = decode_rle_frame(frame, ds)
    review |= _find_unused_bits(cells.tobytes(), ds, "<")
    rows, columns, samples = (*cells.shape, 1)[:3]
    return bytes(
        encode_pixel_data(
            cells.tobytes(), byteorder="<", rows=rows, columns=columns, samples_per_pixel=samples,
            bits_allocated=8 * cells.itemsize,
        )
    )  # fmt: skip


def _clean_plain(ds: Dataset, content: bytes, keyword: str) -> bytes:
    """Return as many bytes as the header describes, and a zero that makes an odd length even."""
    if int(ds.BitsAllocated) not in _CELL_BITS[keyword]:
        raise NotCleaned
    length = get_expected_length(ds)
    if len(content) < length:
        raise Refused("truncated")
    if length % 2 and _is_big_endian(ds):  # one of the last two bytes is padding, by the VR
        return content[: length + 1]
    return content[:length] + bytes(length % 2)


def _is_big_endian(ds: Dataset) -> bool:
    return not ds.file_meta.TransferSyntaxUID.is_little_endian


def _find_unused_bits(content: bytes, ds: Dataset, order: str) -> set[Review]:
    """Return the reason if unused bits hold anything: retired overlays were drawn there (PS3.5 8.1.1)."""
    allocated, stored = int(ds.BitsAllocated), int(ds.BitsStored)
    if allocated == 1:
        used = get_expected_length(ds, "pixels") % 8  # of the last byte, from the lowest bit
        last = content[get_expected_length(ds) - 1]
        return {"unused_bits"} if used and last >> used else set()
    if stored >= allocated:
        return set()
    cells = np.frombuffer(content, f"{order}u{allocated // 8}", len(content) * 8 // allocated)
    shift = int(ds.HighBit) + 1 - stored
    used_bits = np.asarray(((1 << stored) - 1) << shift, cells.dtype)
    unused = cells & ~used_bits
    if int(ds.PixelRepresentation):  # the sign may fill the unused bits
        negative = (cells >> np.asarray(ds.HighBit, cells.dtype)) & 1
        above = ~np.asarray((1 << int(ds.HighBit) + 1) - 1, cells.dtype)
        unused = np.where((negative == 1) & (unused == above), 0, unused)
    return {"unused_bits"} if unused.any() else set()
