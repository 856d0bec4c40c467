"""Clean one dataset by the rules, with all its nested sequences.

Elements that are kept are never decoded: their bytes are written as they were, in any character set.
"""

import re
from collections import Counter
from dataclasses import dataclass

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID_dictionary
from pydicom.valuerep import STR_VR

from covid_monai.deidentify.replacements import (
    Pseudonyms,
    coarsen_age,
    find_patient,
    is_time,
    shift_date,
    shift_datetime,
)
from covid_monai.deidentify.rules import DECISIONS, Action, Rules, get_vr
from covid_monai.deidentify.run_manifest import Refused

_MAX_DEPTH = 32  # the deepest IODs need about ten
_METHOD = "covid-monai, DICOM PS3.15 Table E.1-1"
_DUMMY_TEXT = "REMOVED"
_DUMMIES = DECISIONS["dummies"]  # by VR
_LONGEST_NUMBER = 4  # bytes of a number whose VR the file does not know
_NUMBER = re.compile(rb"[0-9+\-.eE \\\0]*")


def clean_dataset(ds: Dataset, rules: Rules, pseudonyms: Pseudonyms) -> Counter[str]:
    """Clean a dataset in place, and write its pseudonym and the method of de-identification into it.

    Returns the numbers of elements that were removed (`private` ones, other `removed` ones) or `changed`.
    Raises `Refused` if the sequences are nested too deep.
    """
    patient = find_patient(ds)
    cleaner = _Cleaner(rules, pseudonyms, pseudonyms.shift_days(patient), Counter())
    cleaner.clean(ds)
    ds.PatientID = ds.PatientName = pseudonyms.patient(patient)
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = _METHOD
    ds.DeidentificationMethodCodeSequence = [Dataset() for _ in rules.codes]
    for item, code in zip(ds.DeidentificationMethodCodeSequence, rules.codes, strict=True):
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code[:3]
    ds.LongitudinalTemporalInformationModified = "MODIFIED"
    return cleaner.counts


@dataclass
class _Cleaner:
    """Cleans the datasets of one patient, which share a shift of dates."""

    rules: Rules
    pseudonyms: Pseudonyms
    days: int
    counts: Counter[str]

    def clean(self, ds: Dataset, *, depth: int = 0) -> None:
        if depth > _MAX_DEPTH:
            raise Refused("nesting")
        for tag in list(ds.keys()):
            action = self.rules.action(tag)
            if action is Action.REMOVE or (action is Action.KEEP and _holds_hidden_text(ds, tag)):
                del ds[tag]
                self.counts["private" if tag.is_private else "removed"] += 1
            elif get_vr(tag) == "SQ":
                self._clean_sequence(ds, tag, action, depth=depth)
            elif action is Action.KEEP:
                _set_vr(ds, tag)
            else:
                ds[tag] = DataElement(tag, get_vr(tag).split(" or ")[0], self._new_value(ds, tag, action))
                self.counts["changed"] += 1

    def _clean_sequence(self, ds: Dataset, tag: BaseTag, action: Action, *, depth: int) -> None:
        items = _get_items(ds, tag)
        if action is Action.EMPTY or not items:
            ds[tag] = DataElement(tag, "SQ", [])
            self.counts["changed"] += 1
            return
        for item in items:
            self.clean(item, depth=depth + 1)
            if action is Action.DUMMY:
                _replace_texts(item)

    def _new_value(self, ds: Dataset, tag: BaseTag, action: Action) -> object:
        vr = get_vr(tag)
        if action is Action.EMPTY:
            return None
        if action is Action.DUMMY and vr != "UI":
            return _DUMMIES.get(vr, _DUMMY_TEXT)
        values = _get_texts(ds, tag)
        if action is Action.AGE:
            return [coarsen_age(value) for value in values]
        if vr == "UI":
            return [value if value in UID_dictionary else self.pseudonyms.uid(value) for value in values]
        if vr == "TM":
            return [value if is_time(value) else "" for value in values]
        shift = shift_date if vr == "DA" else shift_datetime
        return [shift(value, self.days) for value in values]


def _get_items(ds: Dataset, tag: BaseTag) -> list[Dataset]:
    """Return the items of a sequence; none if its bytes are not a sequence."""
    try:
        value = ds[tag].value
    except RecursionError:
        raise Refused("nesting") from None
    except Exception:  # noqa: BLE001  # a parser over damaged bytes raises many types
        return []
    return list(value) if isinstance(value, Sequence) else []


def _get_texts(ds: Dataset, tag: BaseTag) -> list[str]:
    """Return the values of an element as text, without validation and without its character set."""
    texts = (value.strip(" \0") for value in _get_bytes(ds, tag).decode("latin-1").split("\\"))
    return [text for text in texts if text]


def _get_bytes(ds: Dataset, tag: BaseTag) -> bytes:
    element = ds.get_item(tag)
    if isinstance(element, RawDataElement):
        return element.value or b""
    value = element.value
    values = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    return "\\".join("" if each is None else str(each) for each in values).encode("utf-8", "surrogateescape")


def _holds_hidden_text(ds: Dataset, tag: BaseTag) -> bool:
    """Tell whether an element holds text although the dictionary knows only numbers or bytes there."""
    known = get_vr(tag)
    declared = ds.get_item(tag).VR or known
    if known in ("DS", "IS"):
        return _NUMBER.fullmatch(_get_bytes(ds, tag)) is None
    if known in STR_VR or known == "SQ" or declared in known.split(" or "):
        return False
    return declared in STR_VR or (declared == "UN" and len(_get_bytes(ds, tag)) > _LONGEST_NUMBER)


def _replace_texts(ds: Dataset) -> None:
    """Put a dummy into every text of an item: a required sequence keeps its form, without its content."""
    for tag in list(ds.keys()):
        vr = get_vr(tag)
        if vr == "SQ":
            for item in _get_items(ds, tag):
                _replace_texts(item)
        elif (vr in STR_VR or vr in _DUMMIES) and vr != "UI":
            ds[tag] = DataElement(tag, vr, _DUMMIES.get(vr, _DUMMY_TEXT))


def _set_vr(ds: Dataset, tag: BaseTag) -> None:
    """Set the VR of an element from a part in implicit VR: some files mix both encodings."""
    element = ds.get_item(tag)
    if element.VR is None:
        vr = get_vr(tag)
        ds[tag] = ds[tag] if " or " in vr else element._replace(VR=vr)
