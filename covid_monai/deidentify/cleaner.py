"""Clean one dataset by the rules, with all its nested sequences.

Elements that are kept are never decoded: their bytes are written as they were, in any character set.
"""

import re
from collections import Counter
from dataclasses import dataclass

from pydicom.charset import python_encoding
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID_dictionary
from pydicom.valuerep import STR_VR, format_number_as_ds

from covid_monai.deidentify.replacements import (
    Pseudonyms,
    coarsen_age,
    find_patient,
    is_time,
    shift_date,
    shift_datetime,
)
from covid_monai.deidentify.rules import (
    DECISIONS,
    PIXEL_TAGS,
    SEGMENTED_TABLES,
    TABLES,
    Action,
    Rules,
    get_vr,
)
from covid_monai.deidentify.run_manifest import Refused, Review
from covid_monai.deidentify.values import (
    count_values,
    encode_numbers,
    is_value_of,
    most_values,
    number_reads_like_text,
    reads_like_text,
)
from covid_monai.dicom.elements import get_numbers

_MAX_DEPTH = 32  # the deepest IODs need about ten
_METHOD = "covid-monai, DICOM PS3.15 Table E.1-1"
_DUMMY_TEXT = "REMOVED"
_DUMMIES = DECISIONS["dummies"]  # by VR
_CHARACTER_SET = Tag("SpecificCharacterSet")
_LONGEST_DS = 16  # characters (PS3.5 6.2)
_MAX_ENTRIES = 65536  # of a table, written as 0
_IDENTIFIERS = [Tag(each) for each in ("PatientID", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber")]
_SHORTEST_WORD, _SHORTEST_IDENTIFIER = 4, 5  # bytes; shorter ones occur in other texts by chance


def clean_dataset(ds: Dataset, rules: Rules, pseudonyms: Pseudonyms) -> tuple[Counter[str], set[Review]]:
    """Clean a dataset in place, and write its pseudonym and the method of de-identification into it.

    Returns the numbers of elements that were removed (`private` ones, other `removed` ones) or `changed`, and
    why a person must look at those that stay. Pixel data are left to `pixel_cleaning`. Raises `Refused` if
    the sequences are nested too deep.
    """
    patient = find_patient(ds)
    cleaner = _Cleaner(
        rules, pseudonyms, pseudonyms.shift_days(patient), Counter(), set(), _find_identity(ds)
    )
    cleaner.clean(ds)
    ds.PatientID = ds.PatientName = pseudonyms.patient(patient)
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = _METHOD
    ds.DeidentificationMethodCodeSequence = [Dataset() for _ in rules.codes]
    for item, code in zip(ds.DeidentificationMethodCodeSequence, rules.codes, strict=True):
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code[:3]
    ds.LongitudinalTemporalInformationModified = "MODIFIED"
    return cleaner.counts, cleaner.review


@dataclass
class _Cleaner:
    """Cleans the datasets of one patient, which share a shift of dates."""

    rules: Rules
    pseudonyms: Pseudonyms
    days: int
    counts: Counter[str]
    review: set[Review]
    identity: re.Pattern[bytes]  # names and numbers of persons in the header, in capitals

    def clean(self, ds: Dataset, *, depth: int = 0) -> None:
        if depth > _MAX_DEPTH:
            raise Refused("nesting")
        for tag in list(ds.keys()):
            action = self.rules.action(tag)
            if action is Action.KEEP and get_vr(tag) != "SQ":
                if (tag in PIXEL_TAGS and not depth) or self._keep(ds, tag):
                    continue
                action = Action.REMOVE
            if action is Action.REMOVE:
                del ds[tag]
                self.counts["private" if tag.is_private else "removed"] += 1
            elif get_vr(tag) == "SQ":
                self._clean_sequence(ds, tag, action, depth=depth)
            else:
                ds[tag] = DataElement(tag, get_vr(tag).split(" or ")[0], self._new_value(ds, tag, action))
                self.counts["changed"] += 1

    def _keep(self, ds: Dataset, tag: BaseTag) -> bool:
        """Tell whether an element holds nothing but values of its VR, as many as its multiplicity allows."""
        vr, content = _find_vr(ds, tag), _get_bytes(ds, tag)
        if tag in TABLES or tag in SEGMENTED_TABLES:
            return vr in ("US", "SS", "OW") and self._keep_table(ds, tag, vr, content)
        if not is_value_of(vr, content) or count_values(vr, content) > most_values(tag):
            return False
        values = [value.strip(b" \0").decode("latin-1") for value in content.split(b"\\")]
        if tag == _CHARACTER_SET and not python_encoding.keys() >= set(values):
            return False
        self._look_for_identity(vr, content)
        if vr == "DS" and max(map(len, values)) > _LONGEST_DS:
            values = [format_number_as_ds(float(value)) if value else "" for value in values]
            ds[tag] = DataElement(tag, vr, values)
            self.counts["changed"] += 1
        else:
            _set_vr(ds, tag, vr)
        return True

    def _look_for_identity(self, vr: str, content: bytes) -> None:
        if vr not in STR_VR and number_reads_like_text(content):
            self.review.add("text_in_numbers")
        if vr in STR_VR and self.identity.search(content.upper()):
            self.review.add("identity_in_text")

    def _keep_table(self, ds: Dataset, tag: BaseTag, vr: str, content: bytes) -> bool:
        """Cut a lookup table behind its last entry (PS3.3 C.11.1.1, C.7.6.3.1.5)."""
        descriptor = get_numbers(ds, keyword_for_tag(TABLES[tag])) if tag in TABLES else []
        entries = int(descriptor[0]) % _MAX_ENTRIES or _MAX_ENTRIES if descriptor else 0
        if len(content) > 2 * entries > 0:
            content = content[: 2 * entries]
            ds[tag] = DataElement(tag, "OW", content)
            self.counts["changed"] += 1
        else:
            _set_vr(ds, tag, vr)
        if len(content) not in (2 * entries, entries + entries % 2):  # of two bytes, or of one
            self.review.add("table_not_checked")
        if reads_like_text(content, shortest=6, turns=3):
            self.review.add("text_in_numbers")
        return True

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
        if len(values) > most_values(tag):
            return None
        if action is Action.AGE:
            return [coarsen_age(value) for value in values]
        if vr == "UI":
            return [value if value in UID_dictionary else self.pseudonyms.uid(value) for value in values]
        if vr == "TM":
            return [value if is_time(value) else "" for value in values]
        shift = shift_date if vr == "DA" else shift_datetime
        return [shift(value, self.days) for value in values]


def _find_identity(ds: Dataset) -> re.Pattern[bytes]:
    """Return a pattern of the names and numbers of persons, which texts that stay may repeat."""
    words = {text for tag in _IDENTIFIERS if tag in ds for text in _get_texts(ds, tag)}
    words = {word for word in words if len(word) >= _SHORTEST_IDENTIFIER}
    names = [text for tag in list(ds.keys()) if get_vr(tag) == "PN" for text in _get_texts(ds, tag)]
    parts = {part for name in names for part in re.split(r"[\s^=,.]+", name)}
    words |= {part for part in parts if len(part) >= _SHORTEST_WORD}
    choice = b"|".join(re.escape(word.encode("latin-1").upper()) for word in sorted(words))
    return re.compile(rb"(?<![A-Z0-9])(?:%s)(?![A-Z0-9])" % choice if words else b"(?!)")


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
    value = element.value
    if isinstance(element, RawDataElement) or isinstance(value, bytes):
        return bytes(value or b"")
    values = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    if element.VR not in STR_VR:
        return encode_numbers(element.VR, [each for each in values if each is not None])
    return "\\".join("" if each is None else str(each) for each in values).encode("utf-8", "surrogateescape")


def _find_vr(ds: Dataset, tag: BaseTag) -> str:
    """Return the VR by which to read an element; "" if it is declared as something else than it can be."""
    known, declared = get_vr(tag).split(" or "), ds.get_item(tag).VR
    if declared in known:
        return str(declared)
    return known[0] if declared in (None, "UN") or (declared in STR_VR and known[0] in STR_VR) else ""


def _replace_texts(ds: Dataset) -> None:
    """Put a dummy into every text of an item: a required sequence keeps its form, without its content."""
    for tag in list(ds.keys()):
        vr = get_vr(tag)
        if vr == "SQ":
            for item in _get_items(ds, tag):
                _replace_texts(item)
        elif (vr in STR_VR or vr in _DUMMIES) and vr != "UI":
            ds[tag] = DataElement(tag, vr, _DUMMIES.get(vr, _DUMMY_TEXT))


def _set_vr(ds: Dataset, tag: BaseTag, vr: str) -> None:
    """Set the VR of an element that has another, or none: some files mix both encodings."""
    element = ds.get_item(tag)
    if vr != element.VR and isinstance(element, RawDataElement):
        ds[tag] = ds[tag] if " or " in get_vr(tag) else element._replace(VR=vr)
