"""Which objects are answered: an allowlist, judged by what the archive says before anything is fetched."""

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from covid_monai.core.vocabulary import RESULT_DEVICE

# PS3.3 section 9.1: digits and dots, 64 characters at most. What is not one never becomes part of an address.
UID = re.compile(r"(?=.{1,64}$)\d+(\.\d+)*")
COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"
DIGITAL_XRAY_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
ATTRIBUTES = {  # DICOM keyword to the key of `Rules`
    "SOPClassUID": "sop_classes",
    "RemoteAET": "ae_titles",  # no DICOM attribute: Orthanc notes who sent an instance
    "Modality": "modalities",
    "BodyPartExamined": "body_parts",
    "ViewPosition": "views",
    "StationName": "stations",
    "InstitutionName": "institutions",
}
# What `missing: accept` is about: Type 2 or 3 attributes that consoles leave empty.
_OFTEN_EMPTY = ("BodyPartExamined", "ViewPosition", "StationName", "InstitutionName")

OWN_RESULT = "own_result"

Word = Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]


class Rules(BaseModel):
    """An object is answered if every list that is not empty holds its value: in any case, `*` is any text.

    Args:
        modalities: Modality (0008,0060).
        sop_classes: SOP Class UID (0008,0016).
        body_parts: Body Part Examined (0018,0015).
        views: View Position (0018,5101).
        ae_titles: AE title that sent the object to Orthanc; objects that came by HTTP have none.
        stations: Station Name (0008,1010).
        institutions: Institution Name (0008,0080).
        missing: What an empty body part, view, station or institution means. The classifier's own checks
            of header and picture come later in any case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    modalities: tuple[Word, ...] = ("CR", "DX")
    sop_classes: tuple[Word, ...] = (COMPUTED_RADIOGRAPHY, DIGITAL_XRAY, DIGITAL_XRAY_FOR_PROCESSING)
    body_parts: tuple[Word, ...] = Field(default=("CHEST", "THORAX", "LUNG"))
    views: tuple[Word, ...] = ("PA", "AP")
    ae_titles: tuple[Word, ...] = ()
    stations: tuple[Word, ...] = ()
    institutions: tuple[Word, ...] = ()
    missing: Literal["accept", "refuse"] = "accept"

    def refusal(self, attributes: dict[str, str]) -> str | None:
        """The key of the first list that does not hold the object's value; None if it is to be answered.

        Args:
            attributes: Values by the names of `ATTRIBUTES`. A name that is absent is not judged, so that
                what the archive tells cheaply can be judged first; "" is a value that is missing.

        >>> Rules().refusal({"Modality": "CT"})
        'modalities'
        >>> Rules().refusal({"Modality": "DX", "ViewPosition": ""}) is None
        True
        """
        if attributes.get("ManufacturerModelName") == RESULT_DEVICE:
            return OWN_RESULT
        for keyword, key in ATTRIBUTES.items():
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


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What an archive told about one new object.

    Args:
        study: Study Instance UID.
        series: Series Instance UID.
        instance: SOP Instance UID.
        refusal: Why it is not answered; None if it is.
        attributes: What it was judged by; see `ATTRIBUTES`.
    """

    study: str
    series: str
    instance: str
    refusal: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)


def judged(rules: Rules, attributes: dict[str, str], *, study: str, series: str, instance: str) -> Notice:
    """The notice of an object, judged; one whose UIDs are none is refused, whatever else it says."""
    well_formed = all(UID.fullmatch(uid) for uid in (study, series, instance))
    refusal = rules.refusal(attributes) if well_formed else "malformed_uid"
    return Notice(study=study, series=series, instance=instance, refusal=refusal, attributes=attributes)
