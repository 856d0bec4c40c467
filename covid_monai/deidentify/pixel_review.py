"""Reasons why pixel data may still identify a person. Pixels are not altered; a person must look at them."""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.utils import get_expected_length

from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.deidentify.run_manifest import Refused, Review
from covid_monai.deidentify.text_detection import has_text
from covid_monai.dicom.elements import get_number, get_text
from covid_monai.dicom.pixels.codestream import jpeg_segments, split_frames
from covid_monai.dicom.pixels.decode import decode_frame

_PREFIX = "1.2.840.10008.5.1.4.1.1."
_CAPTURES = (f"{_PREFIX}7.", f"{_PREFIX}6.1.", f"{_PREFIX}3.1.")  # secondary capture, ultrasound
_PHOTOGRAPHS = f"{_PREFIX}77.1."
_CAPTURE_WORDS = ("SCREEN", "CAPTURE")
_COMMENTS = (0xFE, 0x64, *range(0xE1, 0xF0))  # COM of JPEG and JPEG-LS, CME of JPEG 2000, application data
_FIRST_TILE = 0x90
_ENCODER_NAME = re.compile(  # encoders write their name into a comment
    rb"(?i)(adobe|spiff|jfif|kakadu|openjpeg|jasper|lead ?tech|intel|ijg|accusoft|pegasus|aware|gdcm|dcmtk)"
)


def find_review_reasons(ds: Dataset) -> tuple[Review, ...]:
    """Return the reasons why a person must look at an image before it is handed on.

    The image is already cleaned: cleaning removes no element that is read here. `Refused` is raised if its
    pixel data is shorter than the header says.
    """
    found = [*_check_header(ds), *_check_bytes(ds)]
    try:
        if has_text(decode_frame(ds)[0]):  # stored values: a window could hide writing
            found.append("text_like_marks")
    except Exception:  # noqa: BLE001  # decoders raise many types, and a person can look instead
        found.append("pixels_not_checked")
    return tuple(dict.fromkeys(found))


def _check_header(ds: Dataset) -> Iterator[Review]:
    declared = get_text(ds, "BurnedInAnnotation").upper()
    image_type = get_text(ds, "ImageType").upper()
    sop_class = get_text(ds, "SOPClassUID")
    if declared == "YES":
        yield "burned_in_declared"
    # Gateways write NO without looking, so NO is not believed for these kinds of image.
    capture = f"{sop_class}.".startswith(_CAPTURES)
    if capture or any(word in image_type for word in _CAPTURE_WORDS):
        yield "screen_or_capture"
    elif declared != "NO" and ("DERIVED" in image_type or "SECONDARY" in image_type):
        yield "derived"
    if sop_class.startswith(_PHOTOGRAPHS):
        yield "photograph"
    if (get_number(ds, "NumberOfFrames") or 1) > 1:
        yield "only_first_frame_checked"


def _check_bytes(ds: Dataset) -> Iterator[Review]:
    if "PixelData" not in ds:
        return
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        with suppress(UnreadableImage):  # decoding fails too
            if any(map(_has_comment, split_frames(ds))):
                yield "comment_in_compressed_stream"
        return
    try:
        surplus = len(ds.PixelData) - get_expected_length(ds)
    except (AttributeError, TypeError, ValueError):  # without Rows and the like decoding fails too
        return
    if surplus < 0:
        raise Refused("truncated")
    if surplus > 1:  # one byte makes an odd length even
        yield "bytes_after_pixels"
    if _has_unused_bits(ds):
        yield "unused_bits"


def _has_comment(frame: bytes) -> bool:
    segments = takewhile(lambda segment: segment[0] != _FIRST_TILE, jpeg_segments(frame))
    return any(marker in _COMMENTS and not _ENCODER_NAME.search(content) for marker, content in segments)


def _has_unused_bits(ds: Dataset) -> bool:
    """Tell whether unused bits hold anything: retired overlays were drawn there (PS3.5 8.1.1)."""
    allocated, stored = int(ds.BitsAllocated), int(ds.BitsStored)
    if allocated not in (8, 16) or stored >= allocated:
        return False
    order = "<" if ds.file_meta.TransferSyntaxUID.is_little_endian else ">"
    cells = np.frombuffer(ds.PixelData, f"{order}u{allocated // 8}", len(ds.PixelData) * 8 // allocated)
    shift = int(ds.HighBit) + 1 - stored
    used = ((1 << stored) - 1) << shift
    unused = cells & ~np.asarray(used, cells.dtype)
    if int(ds.PixelRepresentation):  # the sign may fill the unused bits
        negative = (cells >> int(ds.HighBit)) & 1
        unused = np.where(negative & (unused == ~np.asarray(used, cells.dtype)), 0, unused)
    return bool(unused.any())
