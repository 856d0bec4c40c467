"""The acceptance rules: which DICOM objects are one radiograph of a chest. `view` has the rule of the view.

The elements decide, before any pixel is decoded.
"""

import re
from typing import NoReturn

from pydicom.dataset import Dataset

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.dicom.body_part import check_body_part
from covid_monai.dicom.elements import get_number, get_text
from covid_monai.dicom.own_results import has_own_uids, is_processed_picture

MIN_SIDE = 64
MAX_ASPECT = 4.0
MAX_PIXELS = 80_000_000  # largest detectors: 20 million; Pillow's own bound is 89 million
MAX_DECODED_BYTES = 2 * MAX_PIXELS  # as many pixels of 16 bits; fewer of colour

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_PREFIX = "1.2.840.10008.5.1.4.1.1."
_DICOMDIR = "1.2.840.10008.1.3.10"
_SECONDARY_CAPTURE = f"{_PREFIX}7."
_PRESENTATION_STATES = (f"{_PREFIX}11.",)
_REPORTS = (f"{_PREFIX}88.", f"{_PREFIX}104.")
# Computed Radiography; Digital X-Ray for presentation and for processing; Secondary Capture; Multi-frame
# Grayscale Byte, Grayscale Word and True Color Secondary Capture.
_PROJECTION_CLASSES = [f"{_PREFIX}{kind}" for kind in ("1", "1.1", "1.1.1", "7", "7.2", "7.3", "7.4")]
# DR, XR and RX are no DICOM terms, but some gateways write them; digitisers and exports write SC and OT.
_PROJECTION_MODALITIES = ("CR", "DX", "DR", "XR", "RX", "RG", "SC", "OT", "")


def check_radiograph(ds: Dataset) -> None:
    """Refuse an object that is not one chest radiograph by its class, modality, body part or size.

    Args:
        ds: Data set as read; the pixel data need not be decoded.

    Raises:
        RefusedImage: With the reason and the deciding element.
        UnreadableImage: The data set ends before the description of its pixels.
    """
    _check_kind(ds)
    if not any(keyword in ds for keyword in PIXEL_KEYWORDS):
        if "PixelRepresentation" not in ds:  # the last element that describes them
            raise UnreadableImage(
                "The file ends before its pixels are described. Fetch it from its source again."
            )
        _refuse(RefusalReason.NO_PIXELS, "The object holds no pixel data")
    frames = get_number(ds, "NumberOfFrames") or 1
    if frames > 1:
        _refuse(RefusalReason.MULTI_FRAME, f"The object holds {frames:.0f} frames", expected="a single frame")
    check_body_part(ds)
    rows, columns = get_number(ds, "Rows"), get_number(ds, "Columns")
    if rows is not None and columns is not None:
        check_image_size(int(rows), int(columns), bytes_per_pixel=_decoded_bytes(ds))


def _decoded_bytes(ds: Dataset) -> int:
    """Return the bytes of a decoded pixel; a palette turns one sample into three of up to 16 bits."""
    if get_text(ds, "PhotometricInterpretation") == "PALETTE COLOR":
        return 6
    bits = (get_number(ds, "BitsAllocated") or 16) * (get_number(ds, "SamplesPerPixel") or 1)
    return max(1, int(bits) // 8)


def check_image_size(rows: int, columns: int, *, bytes_per_pixel: int = 2) -> None:
    """Refuse sizes that no chest radiograph has, or that would exhaust memory; call it before decoding.

    Args:
        rows: Rows of the whole image.
        columns: Columns of the whole image.
        bytes_per_pixel: Bytes of a decoded pixel, all samples together.

    Raises:
        RefusedImage: TOO_LARGE, TOO_SMALL or NOT_PROJECTION (a strip).
    """
    size = f"The image has {columns} x {rows} pixels"
    most = MAX_DECODED_BYTES // max(2, bytes_per_pixel)
    if rows * columns > most:
        of_bytes = f" of {bytes_per_pixel} bytes" if bytes_per_pixel > 2 else ""
        expected = f"an image of at most {most:,} such pixels"
        _refuse(RefusalReason.TOO_LARGE, size + of_bytes, expected=expected)
    if min(rows, columns) < MIN_SIDE:
        _refuse(RefusalReason.TOO_SMALL, size, expected=f"a short side of at least {MIN_SIDE}")
    if max(rows, columns) > MAX_ASPECT * min(rows, columns):
        _refuse(RefusalReason.NOT_PROJECTION, f"{size}, which is a strip", expected="a chest image")


def _refuse(reason: RefusalReason, found: str, *, expected: str = "an image") -> NoReturn:
    raise RefusedImage(reason, f"{found}; {expected} was expected.")


def get_sop_class_uid(ds: Dataset) -> str:
    """Return the SOP Class UID of the data set, or else of the file meta information."""
    file_meta = getattr(ds, "file_meta", Dataset())
    return get_text(ds, "SOPClassUID") or get_text(file_meta, "MediaStorageSOPClassUID")


def _check_kind(ds: Dataset) -> None:
    """Judge SOP Class UID and Modality."""
    sop_class, modality = get_sop_class_uid(ds), get_text(ds, "Modality").upper()
    if sop_class.startswith(_PRESENTATION_STATES) or modality == "PR":
        _refuse(RefusalReason.PRESENTATION_STATE, "This is a presentation state")
    if sop_class.startswith(_REPORTS) or modality in ("SR", "KO", "DOC"):
        _refuse(RefusalReason.REPORT, "This is a report or an encapsulated document")
    if has_own_uids(get_text(ds, "SeriesInstanceUID"), get_text(ds, "SOPInstanceUID")):
        _refuse(RefusalReason.REPORT, "This is a result of covid-monai")
    if f"{sop_class}.".startswith(_SECONDARY_CAPTURE) and is_processed_picture(ds):  # such as a heat map
        _refuse(RefusalReason.REPORT, "This is a picture that was made from another image")
    if sop_class == _DICOMDIR or "DirectoryRecordSequence" in ds:
        _refuse(RefusalReason.NO_PIXELS, "This is a DICOMDIR, which only lists files")
    if modality not in _PROJECTION_MODALITIES or (sop_class and sop_class not in _PROJECTION_CLASSES):
        found = f"Modality is {quote_code(modality)}, SOP Class is {quote_code(sop_class)}"
        expected = "a projection radiograph (CR, DX, RG or a secondary capture of one)"
        _refuse(RefusalReason.NOT_PROJECTION, found, expected=expected)


def quote_code(value: str) -> str:
    """Return a code or UID for a message; in a damaged file it may run on into the patient's name."""
    if not value:
        return "absent"
    return value if re.fullmatch(r"[A-Z0-9._]{1,64}", value) else "malformed"
