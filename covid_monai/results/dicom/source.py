"""The radiograph that results are about: whose it is, where it belongs, when it was taken."""

from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from covid_monai.dicom.acceptance import sop_class_uid
from covid_monai.dicom.elements import get_text
from covid_monai.readers.radiograph import NotDicom, read_header
from covid_monai.results.dicom.attributes import shared_attributes
from covid_monai.results.dicom.dates import date_and_time

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


class NoResultObjects(ValueError):
    """There is a prediction, but nothing that DICOM objects could be attached to.

    Args:
        cause: A few words for a count over many files.
        message: One sentence for a person, with the file.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True)
class Source:
    """Header of one radiograph.

    Args:
        ds: All elements but the pixels.
        shared: Character set, patient and study, as `shared_attributes`.
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


def read_source(path: str | Path) -> Source:
    """Read what results take over from a radiograph.

    Raises:
        NoResultObjects: If the file is not DICOM, or lacks one of the UIDs that a result must refer to.
        UnreadableImage: If it cannot be read.
    """
    try:
        ds = read_header(path)
    except NotDicom as error:
        raise NoResultObjects("not a DICOM file", f"{error}: results are attached to a study") from error
    shared = shared_attributes(ds)  # before anything is decoded
    reference = _reference(ds, name=Path(path).name)
    date, time = date_and_time(ds)
    return Source(ds, shared, reference, date, time)


def _reference(ds: Dataset, *, name: str) -> Dataset:
    uids = {"SOPClassUID": sop_class_uid(ds)} | {keyword: get_text(ds, keyword) for keyword in _UIDS}
    for keyword, uid in uids.items():
        if not uid or not UID(uid).is_valid:
            problem = f"no {keyword}" if not uid else f"no valid {keyword}"
            raise NoResultObjects(
                problem, f"{name}: {problem}; results cannot refer to it. Fetch it from the archive again."
            )
    reference = Dataset()
    for keyword, uid in uids.items():
        setattr(reference, keyword, uid)
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"):
        setattr(reference, keyword, "")
    reference.StudyID, reference.StudyDate, reference.StudyTime = "", None, None
    return reference
