"""Replacements for identifying values: pseudonyms, new UIDs, moved dates and coarse ages.

Pseudonyms, UIDs and the days that dates move are an HMAC-SHA256 (RFC 2104) of the old value under a secret
key. The same key gives the same values in every run and at every site, so no list of patients has to be kept.
Nobody without the key can try patient numbers one by one.
"""

import base64
import hmac
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from pydicom.dataset import Dataset

from covid_monai.core.atomic_files import make_private_folder, open_private
from covid_monai.dicom.elements import get_text

_KEY_BYTES = 32
_MIN_SHIFT_DAYS, _SHIFT_CHOICES = 365, 3288  # one to ten years back: no date of the result lies in the future
_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")  # with points: ACR-NEMA, PS3.5 6.2
_DATETIME = re.compile(r"(\d{4})(\d\d)?(\d\d)?((?:\d\d){1,3}(?:\.\d{1,6})?)?(?:[+-]\d{4})?")
_TIME = re.compile(r"([01]\d|2[0-3])(:?[0-5]\d(:?([0-5]\d|60)(\.\d{1,6})?)?)?")
_AGE = re.compile(r"(\d{3})([DWMY])")
_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.2425}
_MAX_AGE_YEARS = 89  # 45 CFR 164.514(b)(2)(i)(C): older people are so few that an age points at them

KEY_ADVICE = (
    "Keep the key where the identities are kept, never beside the data. Whoever has the key can test which "
    "pseudonym belongs to a known patient number. Without the key, later images of a patient get another "
    "pseudonym. There is no other copy of it."
)


@dataclass(frozen=True)
class Pseudonyms:
    """New identifiers that follow from a secret key of 32 bytes."""

    key: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """Return 16 characters that tell two keys apart and reveal neither."""
        return self._digest("key", "").hex()[:16]

    def patient(self, patient: str) -> str:
        """Return the pseudonym of a patient: `P` and 16 letters or digits (80 bits).

        >>> Pseudonyms(bytes(32)).patient("12345")
        'P6ANYMD6VH6KNZQAJ'
        """
        return "P" + base64.b32encode(self._digest("patient", patient)[:10]).decode("ascii")

    def shift_days(self, patient: str) -> int:
        """Return by how many days all dates of a patient move back: 365 to 3,652."""
        return _MIN_SHIFT_DAYS + int.from_bytes(self._digest("dates", patient)[:8], "big") % _SHIFT_CHOICES

    def uid(self, uid: str) -> str:
        """Return the new UID: `2.25.` and a version 8 UUID (PS3.5 B.2, RFC 9562), at most 44 characters."""
        number = int.from_bytes(self._digest("uid", uid)[:16], "big")
        number = number & ~(0xF << 76) | 0x8 << 76  # version 8: the other bits are custom
        number = number & ~(0x3 << 62) | 0x2 << 62  # variant
        return f"2.25.{number}"

    def _digest(self, purpose: str, value: str) -> bytes:
        message = f"covid-monai {purpose}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.digest(self.key, message, "sha256")


def find_patient(ds: Dataset) -> str:
    """Return the PatientID to make the pseudonym from, or else the study, which then counts as one patient.

    IssuerOfPatientID is ignored, because often only some objects of a hospital carry it.
    """
    return get_text(ds, "PatientID") or f"study {get_text(ds, 'StudyInstanceUID')}"


def load_key(path: Path) -> Pseudonyms:
    """Read a key file that only its owner may read."""
    if not path.is_file():
        way_out = "Add --new-key to make one, once for all sites."
        raise FileNotFoundError(f"The key file {path} does not exist. {way_out}")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise PermissionError(f"Other users may read the key file {path}. Run: chmod 600 {path}")
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:  # the content itself stays out of the message
        way_out = f"Give a file that --new-key wrote: {2 * _KEY_BYTES} hexadecimal digits."
        raise ValueError(f"The key file {path} does not hold a key. {way_out}")
    return Pseudonyms(key)


def create_key(path: Path) -> Pseudonyms:
    """Write a new random key with mode 0600, never over an existing file."""
    make_private_folder(path.parent)
    key = secrets.token_bytes(_KEY_BYTES)
    if path.exists():
        raise FileExistsError(f"The key file {path} exists already. Omit --new-key to use it.")
    with open(path, "x", encoding="ascii", opener=open_private) as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return Pseudonyms(key)


def shift_date(value: str, days: int) -> str:
    """Move a DA value back by `days`; return "" if the value is not a date.

    >>> shift_date("20200301", 1), shift_date("2020.03.01", 1), shift_date("unknown", 1)
    ('20200229', '20200229', '')
    """
    match = _DATE.fullmatch(value.strip(" \0"))
    return shift_datetime("".join(match.groups()), days) if match else ""


def shift_datetime(value: str, days: int) -> str:
    """Move the date of a DT value back; return "" if the value is not a date and time.

    Time of day and precision stay. The time zone is removed, because it names a region. A year or month alone
    counts as its first day, and the result is as coarse as the value.

    >>> shift_datetime("20200301123000.5+0100", 1), shift_datetime("202003", 1), shift_datetime("2020", 1)
    ('20200229123000.5', '202002', '2019')
    """
    match = _DATETIME.fullmatch(value.strip(" \0"))
    if match is None:
        return ""
    year, month, day, rest = match.groups()
    if rest and not is_time(rest):
        return ""
    try:
        moved = date(int(year), int(month or 1), int(day or 1)) - timedelta(days=days)
    except (ValueError, OverflowError):  # 31 February, or before the year 1
        return ""
    precision = 8 if day else 6 if month else 4
    return moved.isoformat().replace("-", "")[:precision] + (rest or "")


def is_time(value: str) -> bool:
    """Tell whether a TM value is a time of day and nothing else.

    >>> is_time("123000.25"), is_time("12"), is_time("251000")
    (True, True, False)
    """
    return _TIME.fullmatch(value.strip(" \0")) is not None


def coarsen_age(value: str) -> str:
    """Return an age of up to 89 years as it is, an older one as `090Y`, and "" for any other text.

    >>> coarsen_age("089Y"), coarsen_age("101Y"), coarsen_age("018M"), coarsen_age("old")
    ('089Y', '090Y', '018M', '')
    """
    match = _AGE.fullmatch(value.strip(" \0"))
    if match is None:
        return ""
    return "090Y" if int(match[1]) >= (_MAX_AGE_YEARS + 1) * _PER_YEAR[match[2]] else match[0]
