"""The slices of one CT series: found by the headers of their files, never by file names."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from covid_monai.core.errors import name_file_in_errors
from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.dicom.acceptance import get_sop_class_uid, quote_code
from covid_monai.dicom.elements import get_numbers, get_text
from covid_monai.dicom.file import NotDicom, read_dicom
from covid_monai.dicom.frames import frame_headers, pick_elements

IDENTIFIERS = ("Modality", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "PatientSex", "PatientAge")
_KEYWORDS = (
    *("ImageType", "FrameOfReferenceUID", "AcquisitionNumber", "TemporalPositionIdentifier", *IDENTIFIERS),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated"),
    *("PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence"),
)
# CT Image, Enhanced CT Image, Legacy Converted Enhanced CT Image
_CT_CLASSES = [f"1.2.840.10008.5.1.4.1.1.2{suffix}" for suffix in ("", ".1", ".2")]
_LOCALIZERS = ("LOCALIZER", "SCOUT", "TOPOGRAM")  # Image Type value 3 is LOCALIZER (PS3.3 C.8.2.1.1.1)
_COLOUR = re.compile("RGB|YBR|PALETTE|HSV|CMYK")


@dataclass(frozen=True)
class Slice:
    """One slice: a file of a classic series, or one frame of a multi-frame object.

    Args:
        path: File that holds the slice.
        frame: Index of the frame in its file, from 0.
        name: Name of the slice for messages.
        header: Elements that geometry and Hounsfield units need, as a single-frame object has them.
        problem: Why the image is no slice of a CT, "" if it is one.
        is_localizer: Whether the image only shows where slices lie.
    """

    path: Path
    frame: int
    name: str
    header: Dataset
    problem: str
    is_localizer: bool

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID, "" if absent."""
        return get_text(self.header, "SeriesInstanceUID")

    def get_vector(self, keyword: str, count: int) -> NDArray[np.float64]:
        """Return the value of an element that must have `count` numbers."""
        numbers = get_numbers(self.header, keyword)
        if len(numbers) != count:
            expected = format_count(count, "number")
            message = f"{self.name}: {keyword} is missing or malformed. It needs {expected}."
            raise RefusedImage(RefusalReason.UNSOUND_GEOMETRY, message)
        return np.array(numbers)


def find_slices(path: Path, *, series_uid: str = "") -> list[Slice]:
    """Read the headers of a file or of all DICOM files in a folder and choose one CT series.

    Left out are files that are not DICOM, objects without pixels (reports, DICOMDIR), localizers, and series
    without any CT slice (secondary captures, other modalities).

    Raises:
        RefusedImage: SEVERAL_VOLUMES, if there are several CT series and none is chosen; the message lists
            them. NOT_CT, if there is no CT slice, or the chosen series holds another kind of image too.
        UnreadableImage: There is no DICOM image, or the header of one is damaged.
    """
    paths = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    slices = [s for p in paths for s in _read_slices(p, alone=p is path)]
    if not slices:
        message = "There is no DICOM image in it. Give a CT series or a NIfTI file (.nii, .nii.gz)."
        raise UnreadableImage(message)
    series = Counter(s.series_uid for s in slices if not s.problem)
    listing = ", ".join(f"{uid or 'absent'} ({format_count(n, 'slice')})" for uid, n in series.items())
    if series_uid and series_uid not in {s.series_uid for s in slices}:
        raise UnreadableImage(f"It holds no series {series_uid}. Choose one of: {listing}.")
    if not series_uid and len(series) > 1:
        message = f"It holds {len(series)} CT series: {listing}. Choose one with series_uid=."
        raise RefusedImage(RefusalReason.SEVERAL_VOLUMES, message)
    uid = series_uid or next(iter(series), None)
    chosen = [s for s in slices if uid in (None, s.series_uid)]
    for one in chosen:
        if one.problem and not (one.is_localizer and uid in series):
            raise RefusedImage(RefusalReason.NOT_CT, f"{one.name}: {one.problem}")
    return [s for s in chosen if not s.problem]


def _read_slices(path: Path, *, alone: bool) -> list[Slice]:
    """Read the headers of one file; none if it is not a DICOM image (report, note)."""
    try:
        ds = read_dicom(path, stop_before_pixels=True)
    except NotDicom:
        return []
    if "Rows" not in ds and get_sop_class_uid(ds) not in _CT_CLASSES:
        return []
    problem = _describe_other_kind(ds)
    with name_file_in_errors(path):
        headers = [pick_elements(ds, _KEYWORDS)] if problem else frame_headers(ds, _KEYWORDS)
    slices = []
    for frame, header in enumerate(headers):
        name = path.name
        if len(headers) > 1:
            name = f"frame {frame + 1}" if alone else f"{name}: frame {frame + 1}"
        image_type = f"{get_text(header, 'ImageType')} {get_text(header, 'FrameType')}".upper()
        is_localizer = not problem and any(word in image_type for word in _LOCALIZERS)
        why = "It is a localizer; slices of a CT were expected." if is_localizer else problem
        slices.append(Slice(path, frame, name, header, why, is_localizer))
    return slices


def _describe_other_kind(ds: Dataset) -> str:
    """Say by SOP Class UID, Modality and colour why an image is not a CT slice; "" if it is one."""
    sop_class, modality = get_sop_class_uid(ds), get_text(ds, "Modality").upper()
    if sop_class not in (*_CT_CLASSES, "") or modality not in ("CT", "") or not sop_class + modality:
        kind = f"SOP Class UID is {quote_code(sop_class)} and Modality is {quote_code(modality)}"
        return f"{kind}; Hounsfield units need a CT image."
    if _COLOUR.search(get_text(ds, "PhotometricInterpretation").upper()):
        return "PhotometricInterpretation says that it is in colour; a CT slice is grey."
    return ""
