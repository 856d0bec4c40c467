"""The radiograph that results belong to: its patient, study and UIDs."""

from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from covid_monai.core.vocabulary import RefusedImage
from covid_monai.dicom.acceptance import get_sop_class_uid
from covid_monai.dicom.elements import get_text
from covid_monai.dicom.file import NotDicom, read_dicom
from covid_monai.results.dicom.study_attributes import copy_study_attributes

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


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
    """

    ds: Dataset
    shared: Dataset
    reference: Dataset


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
    return SourceRadiograph(ds, shared, reference)


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
