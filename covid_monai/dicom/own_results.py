"""How our own results are recognised: by their UIDs, and pictures that software made from other images.

Anybody can write our name into a header. The SOP Instance UID of a result follows from its Series Instance
UID, so that every installation and every later version recognises it, without a list of what was stored.
"""

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from covid_monai.dicom.elements import get_text

_PROCESSED = "121322"  # "Source image for image processing operation" (PS3.16 CID 7202)


def own_instance_uid(series_instance_uid: str) -> str:
    """Return the SOP Instance UID of our result in a series of ours; each series holds one object."""
    return str(generate_uid(entropy_srcs=["covid-monai result", series_instance_uid]))


def has_own_uids(series_instance_uid: str, sop_instance_uid: str) -> bool:
    """Return whether an object is a result of this software, of any installation.

    >>> has_own_uids("1.2.3", own_instance_uid("1.2.3")), has_own_uids("1.2.3", "1.2.4")
    (True, False)
    """
    return sop_instance_uid == own_instance_uid(series_instance_uid)


def is_processed_picture(ds: Dataset) -> bool:
    """Return whether a picture says that it was made from another image by processing, as heat maps do."""
    try:
        purposes = [
            get_text(purpose, "CodeValue")
            for source in ds.get("SourceImageSequence") or ()
            for purpose in source.get("PurposeOfReferenceCodeSequence") or ()
        ]
    except Exception:  # noqa: BLE001  # pydicom parses sequences on access, and a damaged one raises many types
        return False
    return _PROCESSED in purposes
