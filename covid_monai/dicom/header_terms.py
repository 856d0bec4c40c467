"""Terms that headers use for body parts and views: how a text is compared with them, and what is found."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import resources
from typing import Any, NamedTuple

import yaml
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset

from covid_monai.dicom.elements import get_text

# Letters that Unicode does not divide into a Latin letter and an accent.
_PLAIN_LETTERS = str.maketrans({"Ł": "L", "Ø": "O", "Đ": "D", "Æ": "AE", "Œ": "OE"})
_WORD_STARTS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_LONGEST = 200  # characters of a text that are read; descriptions have 64, damaged elements millions
_SNOMED_RT = ("SRT", "SNM3", "99SDM")  # PS3.16 8.1: one code system, three designators


class Finding(NamedTuple):
    """What one element says: a term of our tables, never the element's own text, which may hold a name."""

    element: str
    term: str
    fits: bool  # whether it is what the classifier is made for: a chest, a frontal view


def plain_words(text: str) -> str:
    """Return a text as upper-case words without accents, divided by single spaces.

    >>> plain_words("Tórax_P.A. (stehend)"), plain_words("Klatka piersiowa"), plain_words("ChestLat2")
    ('TORAX P A STEHEND', 'KLATKA PIERSIOWA', 'CHEST LAT 2')
    """
    text = text[:_LONGEST]
    with suppress(UnicodeError):  # UTF-8 in an element without a character set
        text = text.encode("latin-1").decode("utf-8")
    letters = unicodedata.normalize("NFKD", _WORD_STARTS.sub(" ", text)).upper().translate(_PLAIN_LETTERS)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"[\W_]+", " ", plain).strip()


def get_code_string(ds: Dataset, keyword: str) -> str:
    """Return a code string by the character set of the data set.

    Code strings are ASCII (PS3.5 6.2), so pydicom reads them as Latin-1, but consoles write their language.
    """
    text = get_text(ds, keyword)
    with suppress(Exception):  # unknown character sets, and bytes that are none of their texts
        return text.encode("latin-1").decode(convert_encodings(ds.get("SpecificCharacterSet"))[-1])
    return text


class Terms:
    """Terms of a table: whole words, a space also stands for none, `*` for any further letters.

    Args:
        table: Terms, or groups of them by part of the body and language.
    """

    def __init__(self, table: Mapping[str, Any] | Sequence[str]) -> None:
        words = [plain_words(term.replace("*", "STAR")).replace("STAR", "*") for term in _flatten(table)]
        self._names = [word.replace("*", "") for word in words]
        patterns = (word.replace(" ", " ?").replace("*", r"\w*") for word in words)
        self._pattern = re.compile("|".join(rf"(\b{pattern}\b)" for pattern in patterns))

    def find(self, words: str) -> str | None:
        """Return the first term in a text of `plain_words` as the table has it, None if there is none."""
        match = self._pattern.search(words)
        return self._names[match.lastindex - 1] if match and match.lastindex else None

    def remove(self, words: str) -> str:
        """Return the text without the terms."""
        return self._pattern.sub(" ", words)


def load_table(name: str) -> dict[str, Any]:
    """Return a YAML table that lies beside this module."""
    table: dict[str, Any] = yaml.safe_load(resources.files(__package__).joinpath(name).read_text("utf-8"))
    return table


def _flatten(table: Mapping[str, Any] | Sequence[str]) -> list[str]:
    if isinstance(table, Mapping):
        return [term for group in table.values() for term in _flatten(group)]
    return list(table)


def get_items(ds: Dataset, keyword: str) -> Iterator[Dataset]:
    """Yield the items of a sequence; none if the element is absent or malformed."""
    with suppress(Exception):  # as in `get_text`
        yield from (item for item in ds.get(keyword) or () if isinstance(item, Dataset))


def find_code(item: Dataset, names: Mapping[str, str]) -> str | None:
    """Return the name of a code item by its SNOMED code, None if `names`, by SNOMED CT codes, lacks it."""
    value, scheme = get_text(item, "CodeValue"), get_text(item, "CodingSchemeDesignator").upper()
    if scheme in _SNOMED_RT:
        from pydicom.sr.coding import Code  # its table of both systems takes 10 ms

        code = Code(value, "SRT", "")
        return next((name for known, name in names.items() if code == Code(known, "SCT", "")), None)
    return names.get(value)


def judge_code(
    element: str,
    item: Dataset,
    fitting: Mapping[str, str],
    other: Mapping[str, str],
    judge_text: Callable[[str, str], Iterable[Finding]],
) -> Iterable[Finding]:
    """Return what a code item names: by its code in two tables, or else by the text of its meaning."""
    if name := find_code(item, {**fitting, **other}):
        return [Finding(element, name, fits=name in fitting.values())]
    return judge_text(element, get_text(item, "CodeMeaning"))


def describe_contradiction(findings: Sequence[Finding]) -> str | None:
    """Return what speaks against an image, and what contradicts that; None if nothing speaks against it."""
    against = next((finding for finding in findings if not finding.fits), None)
    if against is None:
        return None
    found = f"{against.element} names {against.term}"
    other = next((finding for finding in findings if finding.fits), None)
    return f"{found}, although {other.element} names {other.term}" if other else found
