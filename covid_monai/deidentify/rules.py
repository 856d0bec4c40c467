"""What happens to each attribute: Table E.1-1 of PS3.15, and what the table leaves open.

The table itself is data of the package dicom-anonymizer, generated there from the standard; its engine is not
used (it does not enter sequences, forgets its UIDs when the process ends, and knows no options).
"""

from collections.abc import Collection, Mapping
from enum import Enum, StrEnum, auto
from functools import cache
from importlib import import_module
from typing import NamedTuple

from pydicom.datadict import dictionary_is_retired, dictionary_VR, tag_for_keyword
from pydicom.tag import BaseTag, Tag

from covid_monai.core.errors import require_extra

EDITION = "2026c"


class Action(Enum):
    """What to do with one element."""

    KEEP = auto()  # as it is; a sequence is entered
    REMOVE = auto()
    EMPTY = auto()
    DUMMY = auto()
    NEW_UID = auto()
    SHIFT = auto()  # dates; times of day stay
    AGE = auto()


class Retain(StrEnum):
    """Options of the profile that keep more (PS3.15 E.3)."""

    PATIENT_CHARACTERISTICS = "patient-characteristics"
    DEVICE = "device"


class MethodCode(NamedTuple):
    """One code of PS3.16 CID 7050."""

    value: str
    meaning: str


BASIC = MethodCode("113100", "Basic Application Confidentiality Profile")
MODIFIED_DATES = MethodCode("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
RETAIN_CODES: Mapping[Retain, MethodCode] = {
    Retain.PATIENT_CHARACTERISTICS: MethodCode("113108", "Retain Patient Characteristics Option"),
    Retain.DEVICE: MethodCode("113109", "Retain Device Identity Option"),
}

# What the columns of these options mark K. What they mark C is free text, and removal meets that too;
# dates of devices stay out, see _COMMON_DATES.
_RETAINED: Mapping[Retain, str] = {
    Retain.PATIENT_CHARACTERISTICS: "EthnicGroup PatientAge PatientSex PatientSexNeutered PatientSize "
    "PatientWeight PregnancyStatus SmokingStatus",
    Retain.DEVICE: "CassetteID DetectorID DeviceDescription DeviceLabel DeviceSerialNumber DeviceUID "
    "GantryID GeneratorID LensMake LensModel LensSerialNumber LensSpecification ManufacturerDeviceClassUID "
    "ManufacturerDeviceIdentifier ModifyingDeviceID ModifyingSystem PerformedStationName "
    "PerformedStationNameCodeSequence PlateID StationName TransducerIdentificationSequence UDISequence "
    "UniqueDeviceIdentifier XRayDetectorID XRayDetectorLabel XRaySourceID",
}
# Dates that many patients share or that anyone can look up: moved, they would give the shift away.
_COMMON_DATES = (
    "PatientBirthDate PatientBirthTime GPSDateStamp GPSTimeStamp ContextGroupVersion "
    "ContextGroupLocalVersion TemplateVersion TemplateLocalVersion CalibrationDate CalibrationTime "
    "CalibrationDateTime DateOfInstallation DateOfLastCalibration DateOfLastDetectorCalibration "
    "DateOfManufacture DateTimeOfLastCalibration TimeOfLastCalibration TimeOfLastDetectorCalibration "
    "ProductExpirationDateTime EthicsCommitteeApprovalEffectivenessStartDate "
    "EthicsCommitteeApprovalEffectivenessEndDate"
)
# A choice such as X/Z/D depends on the attribute's type in each IOD. The stronger of the two that keep every
# IOD valid is taken: an empty value meets types 2 and 3, a dummy meets type 1 too.
_ACTION_OF_GROUP = {
    "D_TAGS": Action.DUMMY,
    "Z_TAGS": Action.EMPTY,
    "X_TAGS": Action.REMOVE,
    "U_TAGS": Action.NEW_UID,
    "Z_D_TAGS": Action.DUMMY,
    "X_Z_TAGS": Action.EMPTY,
    "X_D_TAGS": Action.DUMMY,
    "X_Z_D_TAGS": Action.DUMMY,
    "X_Z_U_STAR_TAGS": Action.KEEP,  # sequences of references: entered, and their UIDs replaced
}
_TEMPORAL = ("DA", "DT", "TM")
_TEXT_BEYOND_TABLE = ("AE", "LT", "PN", "ST", "UR", "UT")
_BYTES = ("OB", "OD", "OF", "OL", "OV", "OW", "UN", "OB or OW")
_PATIENT_AND_VISIT_GROUPS = (0x0010, 0x0032, 0x0038, 0x4008)
_PIXEL_GROUPS = (0x0028, 0x7FE0)


class Rules:
    """The action of every attribute.

    Args:
        retain: Options that keep more.

    Raises:
        ImportError: If the package with the standard's table is missing.
    """

    def __init__(self, retain: Collection[Retain] = ()) -> None:
        self.retain = tuple(option for option in Retain if option in retain)
        self._actions = dict(_table())
        for tag, action in self._actions.items():
            if vr_of(tag) in _TEMPORAL:
                self._actions[tag] = Action.SHIFT
            elif vr_of(tag) == "SQ" and action is Action.DUMMY and tag not in _required_sequences():
                self._actions[tag] = Action.REMOVE
        # X/Z, but no IOD allows it without items.
        self._actions[Tag("ReferencedStudySequence")] = Action.REMOVE
        self._actions |= {tag: _table()[tag] for tag in _tags(_COMMON_DATES)}
        for option in self.retain:
            self._actions |= dict.fromkeys(_tags(_RETAINED[option]), Action.KEEP)
        if Retain.PATIENT_CHARACTERISTICS in self.retain:
            self._actions[Tag("PatientAge")] = Action.AGE

    @property
    def codes(self) -> list[MethodCode]:
        """What DeidentificationMethodCodeSequence says."""
        return [BASIC, MODIFIED_DATES, *(RETAIN_CODES[option] for option in self.retain)]

    def action(self, tag: BaseTag) -> Action:
        """The action of an attribute; `KEEP` is not the answer to what nobody has judged."""
        return self._actions.get(tag) or _beyond_table(tag)


def vr_of(tag: BaseTag) -> str:
    """VR by the dictionary, such as `US or SS`; "" for an unknown attribute."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""


@cache
def _beyond_table(tag: BaseTag) -> Action:
    """Attributes that the table does not name, which it holds to be harmless: some are made sure of."""
    vr = vr_of(tag)
    unknown = not vr or tag.is_private or tag.element == 0  # a group length
    free = vr in _TEXT_BEYOND_TABLE or vr in _TEMPORAL or (vr in _BYTES and tag.group not in _PIXEL_GROUPS)
    graphics = tag.group >> 8 in (0x50, 0x60)  # curves and overlays, whole
    if unknown or free or graphics or tag.group in _PATIENT_AND_VISIT_GROUPS:
        return Action.REMOVE
    if vr == "UI":
        return Action.NEW_UID
    # Retired attributes are in no table any more.
    return Action.REMOVE if dictionary_is_retired(tag) and vr in ("LO", "SH", "UC") else Action.KEEP


@cache
def _table() -> Mapping[BaseTag, Action]:
    with require_extra("deidentify"):
        table = import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{EDITION}")
    return {
        Tag(*found): action
        for group, action in _ACTION_OF_GROUP.items()
        for found in getattr(table, group)
        if len(found) == 2  # the others are overlays and curves
    }


@cache
def _required_sequences() -> frozenset[BaseTag]:
    """Sequences that the table lets nobody leave out."""
    table = import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{EDITION}")
    return frozenset(Tag(*found) for found in table.D_TAGS)


def _tags(keywords: str) -> list[BaseTag]:
    return [Tag(tag_for_keyword(keyword)) for keyword in keywords.split()]
