"""The radiograph that results belong to: its patient, study, UIDs and date."""

from dataclasses import dataclass
from pathlib import Path

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pydicom.valuerep import DA, TM, validate_value

from covid_monai.core.vocabulary import RefusedImage
from covid_monai.dicom.acceptance import get_sop_class_uid
from covid_monai.dicom.elements import get_text
from covid_monai.dicom.file import NotDicom, read_dicom
from covid_monai.results.dicom.study_attributes import copy_study_attributes

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_DATE_PREFIXES = ("Content", "Acquisition", "Series", "Study")
# For a radiograph without any date: reports must have one (PS3.3 C.17.2), and nobody believes this one.
_NO_DATE, _NO_TIME = "19000101", "000000"


class NoResultObjects(ValueError):
    """There is a prediction, but no DICOM image that result objects could belong to.

    Args:
        cause: A few words for a count over many files.
        message: One sentence for a person, with the file.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True)
class SourceRadiograph:
    """Header of one radiograph.

    Args:
        ds: All elements except the pixels.
        shared: Character set, patient and study, from `copy_study_attributes`.
        reference: The smallest dataset that stands for the radiograph in highdicom: UIDs and size, and no
            patient, so that no malformed value can stop it.
        date: Content Date of the results, `YYYYMMDD`.
        time: Content Time of the results.
    """

    ds: Dataset
    shared: Dataset
    reference: Dataset
    date: str
    time: str


def read_source(path: str | Path) -> SourceRadiograph:
    """Read the header elements that results copy from a radiograph.

    Raises:
        NoResultObjects: If the file is not DICOM, or lacks one of the UIDs that a result must refer to.
        UnreadableImage: If it cannot be read.
    """
    try:
        ds = read_dicom(path, stop_before_pixels=True)
    except NotDicom as error:
        message = f"{error} It has no study that result objects could belong to."
        raise NoResultObjects("not a DICOM file", message) from error
    except RefusedImage as error:  # before any element could be read
        raise NoResultObjects("too large a DICOM file", str(error)) from error
    shared = copy_study_attributes(ds)  # before anything is decoded
    reference = _reference(ds, name=Path(path).name)
    return SourceRadiograph(ds, shared, reference, *_date_and_time(ds))


def _reference(ds: Dataset, *, name: str) -> Dataset:
    uids = {"SOPClassUID": get_sop_class_uid(ds)} | {keyword: get_text(ds, keyword) for keyword in _UIDS}
    for keyword, uid in uids.items():
        if not uid or not UID(uid).is_valid:
            problem = f"no {keyword}" if not uid else f"no valid {keyword}"
            message = f"{name} has {problem}, so results cannot refer to it. Fetch it from the archive again."
            raise NoResultObjects(problem, message)
    reference = Dataset()
    for keyword, uid in uids.items():
        setattr(reference, keyword, uid)
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"):
        setattr(reference, keyword, "")
    reference.StudyID, reference.StudyDate, reference.StudyTime = "", None, None
    return reference


def _date_and_time(ds: Dataset) -> tuple[str, str]:
    """Return the first date and time that the radiograph has: for the results, so that their bytes repeat."""
    for prefix in _DATE_PREFIXES:
        date = _legal_value(ds, f"{prefix}Date", "DA")
        if date:
            return date, _legal_value(ds, f"{prefix}Time", "TM") or _NO_TIME
    return _NO_DATE, _NO_TIME


def _legal_value(ds: Dataset, keyword: str, vr: str) -> str:
    value = get_text(ds, keyword)
    try:
        validate_value(vr, value, config.RAISE)
        DA(value) if vr == "DA" else TM(value)
    except ValueError:
        return ""
    return value
