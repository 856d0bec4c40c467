"""What the bytes of one element may be: values of its VR, as many as its multiplicity allows (PS3.5 6.2)."""

import math
import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from pydicom.datadict import dictionary_VM
from pydicom.tag import BaseTag

_DTYPES = {  # of one value, little endian
    vr: np.dtype(f"<{kind}")
    for kind, vrs in {
        "u2": ["US"], "i2": ["SS"], "u4": ["UL", "AT"], "i4": ["SL"], "f4": ["FL"], "f8": ["FD"],
        "u8": ["UV"], "i8": ["SV"],
    }.items()
    for vr in vrs
}  # fmt: skip
_NUMBER = rb"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"
_WORDS = re.compile(rb"[^\0-\x1a\x1c-\x1f\x7f]*")
_LONG_TEXT = re.compile(rb"[^\0-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]*")
_FORMATS = {  # of one value, without the blanks around it
    "CS": re.compile(rb"[A-Z0-9 _]{0,16}"),
    "DS": re.compile(rb"(" + _NUMBER + rb")?"),
    "IS": re.compile(rb"(?![^\\]{13})([+-]?\d+)?"),
    "UI": re.compile(rb"[0-9.]{0,64}"),
    **dict.fromkeys(("LO", "SH", "UC"), _WORDS),
    **dict.fromkeys(("ST", "UT"), _LONG_TEXT),
}
_LONGEST = {"SH": 16, "LO": 64}  # characters, of at most 4 bytes
_CHARACTER, _ACCENTED = rb"[A-Za-z0-9 ^.,=_/-]", rb"[\xc0-\xff]"
# Each byte as c (a character), a (an accented one, or the first byte of one in UTF-8) or k (a further byte).
_KINDS = re.sub(_CHARACTER, b"c", bytes(range(0x80))).replace(b"\0", b"0") + b"k" * 0x40 + b"a" * 0x40
_ONLY_ASCII, _WITH_ACCENTS = bytes.maketrans(b"a", b"k"), bytes.maketrans(b"a", b"c")
_REPEATED = re.compile(rb"([^ ])\1{3,}")
_AROUND = 8  # bytes on both sides, which tell the byte order of a table
_TURNS_IN_TABLE = 3  # of a run that is text and no piece of a table
_SHORT_TEXT = re.compile(_CHARACTER + rb"{4,}")
# A backslash may be the second byte of a character (GB18030, GBK), or stand between escapes (ISO 2022).
_SEPARATOR, _ESCAPED = re.compile(rb"(?<![\x81-\xfe])\\"), re.compile(rb"\x1b\$[^\x1b]*")


def is_value_of(vr: str, content: bytes) -> bool:
    r"""Tell whether bytes are values of a VR by its character repertoire and length.

    >>> is_value_of("DS", b"0.143\\1e3 "), is_value_of("DS", b"Doe"), is_value_of("US", b"Doe")
    (True, False, False)
    """
    if vr in _DTYPES:
        return len(content) % _DTYPES[vr].itemsize == 0
    if vr not in _FORMATS:
        return False
    values = [value.strip(b" \0") for value in content.split(b"\\")]
    return all(_FORMATS[vr].fullmatch(value) and _is_short_enough(vr, value) for value in values)


def _is_short_enough(vr: str, value: bytes) -> bool:
    return len(value) <= _LONGEST.get(vr, len(value)) * (1 if value.isascii() else 4)


def encode_numbers(vr: str, values: Sequence[float]) -> bytes:
    """Return the bytes of binary numbers; of no other value."""
    return b"".join(_DTYPES[vr].type(value).tobytes() for value in values) if vr in _DTYPES else b""


def count_values(vr: str, content: bytes) -> int:
    """Return the number of values; 0 where there are no bytes."""
    if vr in _DTYPES:
        return len(content) // int(_DTYPES[vr].itemsize)
    if vr in ("ST", "UT"):  # a backslash is a character
        return 1
    return len(_SEPARATOR.findall(_ESCAPED.sub(b"", content))) + 1 if content.strip(b" \0") else 0


@cache
def most_values(tag: BaseTag) -> float:
    """Return the largest number of values that an attribute may have (PS3.6); infinity if there is no limit.

    >>> most_values(BaseTag(0x00280030)), most_values(BaseTag(0x00080008))  # Pixel Spacing, Image Type
    (2.0, inf)
    """
    multiplicity = dictionary_VM(tag)  # such as 2, 1-3, 3-3n, or several
    return math.inf if "n" in multiplicity else max(map(float, re.findall(r"\d+", multiplicity)))


def number_reads_like_text(content: bytes) -> bool:
    """Tell whether the bytes of binary numbers are, or hold, letters that somebody wrote."""
    plain = content.strip(b"\0 ")
    short = len(set(plain)) > 2 and _SHORT_TEXT.fullmatch(plain) is not None
    return short or reads_like_text(content, shortest=6, turns=1)


def reads_like_text(content: bytes, *, shortest: int, turns: int, latin: bool = True) -> bool:
    """Tell whether bytes hold a run of letters and digits, in Latin-1, UTF-16 or (of other scripts) UTF-8.

    Args:
        content: Bytes that should be numbers.
        shortest: Length of a run in Latin-1; half as many characters, at least 4, count in the others.
        turns: How often the run must go up and down. The numbers of a table do so rarely.
        latin: Whether single accented letters count in Latin-1. Long noise has them by chance.
    """
    if not _may_hold_runs(content, shortest, latin):
        return False
    for match in _runs(shortest, latin).finditer(content):
        run = match[0].replace(b"\0", b"")
        # One character over and over is a fraction such as 0.1 in binary, and ends a run.
        word = max(_REPEATED.split(run)[::2], key=len)
        if len(word) * len(match[0]) >= shortest * len(run) and len(set(word)) > 2:
            around = content[max(0, match.start() - _AROUND) & ~1 : (match.end() + _AROUND) & ~1]
            table = turns >= _TURNS_IN_TABLE and _rises_or_falls(around)
            if not table and _count_turns(word) >= turns:
                return True
    return False


def _count_turns(run: bytes) -> int:
    steps = [b > a for a, b in pairwise(run) if a != b]
    return sum(a != b for a, b in pairwise(steps))


def _rises_or_falls(content: bytes) -> bool:
    """Tell whether 16-bit numbers rise all along or fall all along, in either byte order."""
    orders = [np.frombuffer(content, f"{order}u2", len(content) // 2).astype(int) for order in "<>"]
    return any((np.diff(each) >= 0).all() or (np.diff(each) <= 0).all() for each in orders)


def _may_hold_runs(content: bytes, shortest: int, latin: bool) -> bool:
    """Tell quickly whether bytes can hold a run that `_runs` finds: they often are megabytes."""
    kinds, wide = content.translate(_KINDS), max(4, shortest // 2)
    ascii_only, accented = kinds.translate(_ONLY_ASCII), kinds.translate(_WITH_ACCENTS)
    return (
        b"c" * shortest in (accented if latin else ascii_only)
        or any(unit * wide in accented for unit in (b"c0", b"0c"))
        or any(unit * wide in kinds for unit in (b"ak", b"akk"))
    )


@cache
def _runs(shortest: int, latin: bool) -> re.Pattern[bytes]:
    wide = b"{%d,}" % max(4, shortest // 2)
    one = b"(?:%s|%s(?=%s))" % (_CHARACTER, _ACCENTED, _CHARACTER) if latin else _CHARACTER
    kinds = [
        one + b"{%d,}" % shortest,
        rb"(?:(?:%s|%s)\0)" % (_CHARACTER, _ACCENTED) + wide,
        rb"(?:\0(?:%s|%s))" % (_CHARACTER, _ACCENTED) + wide,
        rb"(?:[\xc3-\xdf][\x80-\xbf])" + wide,
        rb"(?:[\xe3-\xed][\x80-\xbf]{2})" + wide,
    ]
    return re.compile(b"|".join(kinds))
