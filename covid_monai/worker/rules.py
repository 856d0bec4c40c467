"""Selection rules: an allowlist that is applied to what the archive says, before anything is fetched."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import StringConstraints
from pydicom import uid

from covid_monai.dicom.own_results import has_own_uids
from covid_monai.pacs.connection import InstanceAddress, Section

RULE_OF_ATTRIBUTE = {  # DICOM keyword to the key of `Rules`
    "SOPClassUID": "sop_classes",
    "RemoteAET": "ae_titles",  # not a DICOM attribute: Orthanc records who sent an instance
    "Modality": "modalities",
    "BodyPartExamined": "body_parts",
    "ViewPosition": "views",
    "StationName": "stations",
    "InstitutionName": "institutions",
}
# Type 2 or 3 attributes, which consoles often leave empty: `missing` says what that means.
_OFTEN_EMPTY = ("BodyPartExamined", "ViewPosition", "StationName", "InstitutionName")

# Reasons why an object is passed over whatever the rules say.
OWN_RESULT = "own_result"
KNOWN = "known"
GONE = "gone"
ATTRIBUTES_UNREADABLE = "attributes_unreadable"
BEFORE_START = "before_start"
OLDER = "older_than_days"
SKIPPED = frozenset((OWN_RESULT, KNOWN, GONE, ATTRIBUTES_UNREADABLE, BEFORE_START, OLDER))

Pattern = Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]


class Rules(Section):
    """An image is selected if every list that is not empty holds its value.

    Upper and lower case are the same, and `*` stands for any text. `RULE_OF_ATTRIBUTE` names the attribute
    of each list.
    """

    modalities: tuple[Pattern, ...] = ("CR", "DX")
    sop_classes: tuple[Pattern, ...] = (
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
    )
    body_parts: tuple[Pattern, ...] = ("CHEST", "THORAX", "LUNG")
    views: tuple[Pattern, ...] = ("PA", "AP")
    ae_titles: tuple[Pattern, ...] = ()  # Orthanc only; objects that came by HTTP have none
    stations: tuple[Pattern, ...] = ()
    institutions: tuple[Pattern, ...] = ()
    missing: Literal["accept", "refuse"] = "accept"  # the classifier checks header and picture in any case

    def refusal(self, attributes: dict[str, str]) -> str | None:
        """Return the key of the first list that does not hold the image's value, None if all do.

        An attribute that is absent is not judged, so that those that cost little to get can be judged
        first. "" is an empty value.

        >>> Rules().refusal({"Modality": "CT"})
        'modalities'
        >>> Rules().refusal({"Modality": "DX", "ViewPosition": ""}) is None
        True
        """
        for keyword, key in RULE_OF_ATTRIBUTE.items():
            allowed = getattr(self, key)
            if not allowed or keyword not in attributes:
                continue
            value = attributes[keyword].strip().upper()
            if not value and keyword in _OFTEN_EMPTY:
                if self.missing == "refuse":
                    return key
            elif not any(fnmatchcase(value, pattern.upper()) for pattern in allowed):
                return key
        return None

    def judge(self, address: InstanceAddress, attributes: dict[str, str]) -> "Notice":
        """Return the notice of an object; one with a malformed UID is refused, whatever else it says."""
        if not address.is_well_formed:
            return Notice(address, "malformed_uid")
        if has_own_uids(address.series_instance_uid, address.sop_instance_uid):
            return Notice(address, OWN_RESULT)
        return Notice(address, self.refusal(attributes))


@dataclass(frozen=True)
class Notice:
    """News of one object in an archive, or of several that are passed over and cannot be named."""

    address: InstanceAddress
    refusal: str | None = None  # why it is not selected; None if the rules select it
    orthanc_id: str | None = None  # of an object whose UIDs are unknown
    count: int | None = None  # number of objects, if they are several


Page = tuple[list[Notice], str | None]  # notices, and the position in the feed behind them
