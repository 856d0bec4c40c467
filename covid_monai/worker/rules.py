"""Selection rules: an allowlist that is applied to what the archive says, before anything is fetched."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import StringConstraints
from pydicom import uid

from covid_monai.core.vocabulary import RESULT_DEVICE
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

OWN_RESULT = "own_result"

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
        if attributes.get("ManufacturerModelName") == RESULT_DEVICE:
            return OWN_RESULT
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
        refusal = self.refusal(attributes) if address.is_well_formed else "malformed_uid"
        return Notice(address, refusal)


@dataclass(frozen=True)
class Notice:
    """News of one object in an archive."""

    address: InstanceAddress
    refusal: str | None = None  # why the rules do not select it; None if they do


Page = tuple[list[Notice], str | None]  # notices, and the position in the feed behind them
