"""One dataset cleaned by the rules, its sequences to the bottom.

Elements that are kept are never decoded: their bytes go through as they are, whatever their character set.
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

from covid_monai.deidentify.dates import coarsen_age, is_time, shift_date, shift_datetime
from covid_monai.deidentify.outcome import Reason, Refused
from covid_monai.deidentify.pseudonyms import Pseudonyms, patient_of
from covid_monai.deidentify.rules import Action, MethodCode, Rules, vr_of

MAX_DEPTH = 32  # the deepest IODs need about ten
METHOD = "covid-monai, DICOM PS3.15 Table E.1-1"

_DUMMY_TEXT = "REMOVED"
_DUMMIES = {
    "AS": "000Y", "DA": "19000101", "DT": "19000101", "TM": "000000", "DS": "0", "IS": "0",
    "UR": "http://removed.invalid", "OB": b"\0\0", "UN": b"\0\0",
}  # fmt: skip
_LONGEST_NUMBER = 4  # bytes of a number whose VR the file does not know
_NUMBER = re.compile(rb"[0-9+\-.eE \\\0]*")


@dataclass
class Cleaner:
    """Cleans datasets in place and counts what it did.

    Args:
        rules: The action of every attribute.
        pseudonyms: New identities.
    """

    rules: Rules
    pseudonyms: Pseudonyms

    def __call__(self, ds: Dataset) -> Counter[str]:
        """Clean a dataset and write into it who it is about now and how it was de-identified.

        Returns:
            How many elements were removed as `private`, `removed` for another reason, or `changed`.

        Raises:
            Refused: If its sequences are too deep.
        """
        patient, _ = patient_of(ds)
        counts: Counter[str] = Counter()
        self._clean(ds, self.pseudonyms.shift_days(patient), counts, depth=0)
        ds.PatientID = ds.PatientName = self.pseudonyms.patient(patient)
        ds.PatientIdentityRemoved = "YES"
        ds.DeidentificationMethod = METHOD
        ds.DeidentificationMethodCodeSequence = Sequence(map(_code_item, self.rules.codes))
        ds.LongitudinalTemporalInformationModified = "MODIFIED"
        return counts

    def _clean(self, ds: Dataset, days: int, counts: Counter[str], *, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Refused(Reason.NESTING)
        for tag in list(ds.keys()):
            action = self.rules.action(tag)
            if action is Action.KEEP and _is_disguised(ds, tag):
                action = Action.REMOVE
            if action is not Action.REMOVE and vr_of(tag) == "SQ":
                self._clean_sequence(ds, tag, action, days, counts, depth=depth)
            elif action is Action.REMOVE:
                del ds[tag]
                counts["private" if tag.is_private else "removed"] += 1
            elif action is Action.KEEP:
                _name_vr(ds, tag)
            else:
                ds[tag] = DataElement(tag, _written_vr(tag), self._new_value(ds, tag, action, days))
                counts["changed"] += 1

    def _clean_sequence(
        self, ds: Dataset, tag: BaseTag, action: Action, days: int, counts: Counter[str], *, depth: int
    ) -> None:
        items = _items(ds, tag)
        if action is Action.EMPTY or not items:
            ds[tag] = DataElement(tag, "SQ", [])
            counts["changed"] += 1
            return
        for item in items:
            self._clean(item, days, counts, depth=depth + 1)
            if action is Action.DUMMY:
                _replace_all(item)

    def _new_value(self, ds: Dataset, tag: BaseTag, action: Action, days: int) -> object:
        vr = vr_of(tag)
        if action is Action.EMPTY:
            return None
        if action is Action.DUMMY and vr != "UI":
            return _DUMMIES.get(vr, _DUMMY_TEXT)
        values = _texts(ds, tag)
        if action is Action.AGE:
            return [coarsen_age(value) for value in values]
        if vr == "UI":
            return [value if value in UID_dictionary else self.pseudonyms.uid(value) for value in values]
        if vr == "TM":
            return [value if is_time(value) else "" for value in values]
        shift = shift_date if vr == "DA" else shift_datetime
        return [shift(value, days) for value in values]


def _items(ds: Dataset, tag: BaseTag) -> list[Dataset]:
    """Items of a sequence; none if its bytes are no sequence."""
    try:
        value = ds[tag].value
    except RecursionError:
        raise Refused(Reason.NESTING) from None
    except Exception:  # a parser over damaged bytes raises many types
        return []
    return list(value) if isinstance(value, Sequence) else []


def _texts(ds: Dataset, tag: BaseTag) -> list[str]:
    """Values of an element as text, read byte by byte: validation and character sets have no say here."""
    return [
        value.strip(" \0") for value in _bytes(ds, tag).decode("latin-1").split("\\") if value.strip(" \0")
    ]


def _bytes(ds: Dataset, tag: BaseTag) -> bytes:
    element = ds.get_item(tag)
    if isinstance(element, RawDataElement):
        return element.value or b""
    value = element.value
    values = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    return "\\".join("" if each is None else str(each) for each in values).encode("utf-8", "surrogateescape")


def _is_disguised(ds: Dataset, tag: BaseTag) -> bool:
    """Whether an element that is kept holds text where the dictionary knows only numbers or bytes."""
    known, element = vr_of(tag), ds.get_item(tag)
    told = element.VR or known
    if known in ("DS", "IS"):
        return _NUMBER.fullmatch(_bytes(ds, tag)) is None
    if known in STR_VR or known == "SQ" or told in known.split(" or "):
        return False
    return told in STR_VR or (told == "UN" and len(_bytes(ds, tag)) > _LONGEST_NUMBER)


def _replace_all(ds: Dataset) -> None:
    """Give every element of an item a dummy, so that a required sequence keeps its form and says nothing."""
    for tag in list(ds.keys()):
        vr = vr_of(tag)
        if vr == "SQ":
            for item in _items(ds, tag):
                _replace_all(item)
        elif (vr in STR_VR or vr in _DUMMIES) and vr != "UI":
            ds[tag] = DataElement(tag, vr, _DUMMIES.get(vr, _DUMMY_TEXT))


def _name_vr(ds: Dataset, tag: BaseTag) -> None:
    """Give an element out of an implicit VR dataset its VR: some files are explicit by name only."""
    element = ds.get_item(tag)
    if element.VR is None:
        vr = vr_of(tag)
        ds[tag] = ds[tag] if " or " in vr else element._replace(VR=vr)


def _written_vr(tag: BaseTag) -> str:
    return vr_of(tag).split(" or ")[0]


def _code_item(code: MethodCode) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, "DCM", code.meaning
    return item
