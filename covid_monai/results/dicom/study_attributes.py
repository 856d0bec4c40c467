"""Patient and study attributes of a radiograph, copied unchanged into its results."""

import re
from importlib import resources
from typing import Any

import yaml
from pydicom import config
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import validate_value

_TABLES: dict[str, Any] = yaml.safe_load(
    resources.files(__package__).joinpath("study_attributes.yaml").read_text("utf-8")
)
IDENTITY, DESCRIPTION = tuple(_TABLES["identity"]), tuple(_TABLES["description"])
_TEXT_VRS = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)
# Of the control characters, those that texts of several lines may hold (PS3.5 6.1.3).
_LINE_CONTROLS = dict.fromkeys(("LT", "ST", "UT"), "\t\n\f\r")
_LONGEST = 65534  # bytes: the length of these VRs has 16 bits (PS3.5 7.1.2)


def copy_study_attributes(ds: Dataset) -> Dataset:
    """Copy character set, patient and study, without decoding the values that an archive matches on.

    A value that breaks its VR, or is not among the enumerated values, is not copied: the attribute stays
    empty if it is required (type 2), and is left out otherwise. `IDENTITY` is copied in any case. The
    elements of `ds` must not be decoded yet.
    """
    shared = Dataset()
    if character_set := _character_set(ds):
        shared.SpecificCharacterSet = character_set
    for keyword in (*IDENTITY, *DESCRIPTION):
        _copy(ds, keyword, shared, strict=keyword not in IDENTITY)
    in_trial = "ClinicalTrialSponsorName" in shared
    for keyword in (*_TABLES["type_2"], *(_TABLES["type_2_of_trial"] if in_trial else ())):
        if keyword not in shared:
            setattr(shared, keyword, None)
    return shared


def _copy(source: Dataset, keyword: str, target: Dataset, *, strict: bool) -> None:
    """Copy an element if it has a value that can be written."""
    tag = BaseTag(tag_for_keyword(keyword) or 0)
    vr = dictionary_VR(tag)
    if tag not in source:
        return
    if vr == "SQ":
        try:
            found = list(source[tag].value)
        except Exception:  # noqa: BLE001  # pydicom parses sequences on access, and a damaged one raises many types
            return
        if items := [copied for item in found if (copied := _item(item))]:
            setattr(target, keyword, items)
        return
    element = source.get_item(tag)
    value = element.value if isinstance(element, RawDataElement) else None
    if vr not in _TEXT_VRS or not value or not value.strip(b" \0") or len(value) > _LONGEST:
        return
    if not strict or _is_legal(source, tag, vr):
        value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
        target[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def _item(item: Dataset) -> Dataset:
    """Return the legal elements of a sequence item; codes and references need no more."""
    copied = Dataset()
    for tag in item.keys():  # noqa: SIM118  # a Dataset iterates over decoded elements
        keyword = "" if tag.is_private else keyword_for_tag(tag)
        if keyword:
            _copy(item, keyword, copied, strict=True)
    return copied


def _is_legal(ds: Dataset, tag: BaseTag, vr: str) -> bool:
    keyword = keyword_for_tag(tag)
    try:
        value = ds[tag].value
        several = isinstance(value, MultiValue)
        if several and dictionary_VM(tag) == "1":
            return False
        for part in map(str, value if several else [value]):
            validate_value(vr, part, config.RAISE)
            if any(letter < " " for letter in part if letter not in _LINE_CONTROLS.get(vr, "")):
                return False
    except Exception:  # noqa: BLE001  # as in `_copy`
        return False
    if keyword in _TABLES["forms"]:
        return re.fullmatch(_TABLES["forms"][keyword], str(value)) is not None
    return keyword not in _TABLES["terms"] or value in _TABLES["terms"][keyword]


def _character_set(ds: Dataset) -> list[str]:
    """Return Specific Character Set in the standard's spelling; empty if it is absent or unknown."""
    value = ds.get("SpecificCharacterSet") or ""
    names = [value] if isinstance(value, str) else value
    names = [re.sub(r"^ISO[ _-]2022[ _-]IR[ _-]", "ISO 2022 IR ", name) for name in names]  # ISO_2022_IR_87
    names = [re.sub(r"^ISO[ _-]IR[ _-]", "ISO_IR ", name) for name in names]  # consoles write ISO-IR 100
    return names if any(names) and all(name in python_encoding for name in names) else []
