"""Action of each attribute: Table E.1-1 of PS3.15, and decisions (rules.yaml) on what the table leaves open.

The table is data of the package dicom-anonymizer, which generates it from the standard. Its engine is not
used; docs/deidentification.md says why.
"""

from collections.abc import Collection, Mapping
from enum import Enum, StrEnum
from functools import cache
from importlib import import_module, resources

import yaml
from pydicom.datadict import dictionary_is_retired, dictionary_VR
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag, Tag

from covid_monai.core.errors import require_extra
from covid_monai.dicom.acceptance import PIXEL_KEYWORDS

EDITION = "2026c"


class Action(Enum):
    """Action on one element."""

    KEEP = "keep"  # as it is; the items of a sequence are cleaned
    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    NEW_UID = "new_uid"
    SHIFT = "shift"  # dates; times of day stay
    AGE = "age"


class Retain(StrEnum):
    """Options of the profile that keep more (PS3.15 E.3)."""

    PATIENT_CHARACTERISTICS = "patient-characteristics"
    DEVICE = "device"


# PS3.16 CID 7050
BASIC = Code("113100", "DCM", "Basic Application Confidentiality Profile")
MODIFIED_DATES = Code("113107", "DCM", "Retain Longitudinal Temporal Information Modified Dates Option")
RETAIN_CODES: Mapping[Retain, Code] = {
    Retain.PATIENT_CHARACTERISTICS: Code("113108", "DCM", "Retain Patient Characteristics Option"),
    Retain.DEVICE: Code("113109", "DCM", "Retain Device Identity Option"),
}

DECISIONS = yaml.safe_load(resources.files(__package__).joinpath("rules.yaml").read_text("utf-8"))
_TEMPORAL = ("DA", "DT", "TM")
_TEXT_BEYOND_TABLE = ("AE", "LT", "PN", "ST", "UR", "UT")
_BYTES = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}
_PATIENT_AND_VISIT_GROUPS = (0x0010, 0x0032, 0x0038, 0x4008)
_GROUPS_OF_NO_IMAGE = (0x0000, 0x0002, 0x0004, 0x7FE0)  # commands, file meta, directory; 7FE0 but the pixels
PIXEL_TAGS = tuple(map(Tag, PIXEL_KEYWORDS))
# Tables of numbers, with the element that says how many they are.
TABLES = {Tag("LUTData"): Tag("LUTDescriptor")} | {
    Tag(f"{colour}PaletteColorLookupTableData"): Tag(f"{colour}PaletteColorLookupTableDescriptor")
    for colour in ("Red", "Green", "Blue", "Alpha")
}
SEGMENTED_TABLES = tuple(
    Tag(f"Segmented{colour}PaletteColorLookupTableData") for colour in ("Red", "Green", "Blue", "Alpha")
)
_KEPT_BYTES = (*PIXEL_TAGS, *TABLES, *SEGMENTED_TABLES)


class Rules:
    """Actions of all attributes; `ImportError` if the package with the standard's table is missing."""

    def __init__(self, retain: Collection[Retain] = ()) -> None:
        self.retain = tuple(option for option in Retain if option in retain)
        common_dates = _tags(DECISIONS["common_dates"])
        self._actions = {
            tag: Action.SHIFT if get_vr(tag) in _TEMPORAL and tag not in common_dates else action
            for tag, action in _table().items()
        }
        for option in self.retain:
            self._actions |= dict.fromkeys(_tags(DECISIONS["retained"][option]), Action.KEEP)
        if Retain.PATIENT_CHARACTERISTICS in self.retain:
            self._actions[Tag("PatientAge")] = Action.AGE

    @property
    def codes(self) -> list[Code]:
        """Return the codes for DeidentificationCodeSequence."""
        return [BASIC, MODIFIED_DATES, *(RETAIN_CODES[option] for option in self.retain)]

    def action(self, tag: BaseTag) -> Action:
        """Return the action of an attribute; an attribute that no rule knows is removed."""
        return self._actions.get(tag) or _action_beyond_table(tag)


def get_vr(tag: BaseTag) -> str:
    """Return the VR by the dictionary, such as `US or SS`; "" for an unknown attribute."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""


@cache
def _action_beyond_table(tag: BaseTag) -> Action:
    """Return the action of an attribute that the table does not name: remove what may hold an identity."""
    vr = get_vr(tag)
    if tag in _KEPT_BYTES:
        return Action.KEEP
    unknown = not vr or tag.is_private or tag.element == 0  # a group length
    free = vr in _TEXT_BEYOND_TABLE or vr in _TEMPORAL or not _BYTES.isdisjoint(vr.split(" or "))
    graphics = tag.group >> 8 in (0x50, 0x60)  # curves and overlays, whole
    if unknown or free or graphics or tag.group in (*_PATIENT_AND_VISIT_GROUPS, *_GROUPS_OF_NO_IMAGE):
        return Action.REMOVE
    if vr == "UI":
        return Action.NEW_UID
    # The table no longer names retired attributes.
    return Action.REMOVE if dictionary_is_retired(tag) and vr in ("LO", "SH", "UC") else Action.KEEP


@cache
def _table() -> Mapping[BaseTag, Action]:
    with require_extra("deidentify"):
        table = import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{EDITION}")
    actions = {
        Tag(*found): Action(action)
        for group, action in DECISIONS["action_of_group"].items()
        for found in getattr(table, group)
        if len(found) == 2  # the others are overlays and curves
    }
    for tag, action in actions.items():
        # Sequences with a choice are removed: only D_TAGS holds sequences that must stay.
        if get_vr(tag) == "SQ" and action is Action.DUMMY and (tag.group, tag.element) not in table.D_TAGS:
            actions[tag] = Action.REMOVE
    # X/Z, but no IOD allows this sequence without items.
    return actions | {Tag("ReferencedStudySequence"): Action.REMOVE}


def _tags(keywords: str) -> list[BaseTag]:
    return [Tag(keyword) for keyword in keywords.split()]
