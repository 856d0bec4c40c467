"""A secret key, and what follows from it: pseudonyms, new UIDs, and each patient's shift of dates.

Everything is an HMAC-SHA256 (RFC 2104) of the old value. The same key gives the same answers in every run and
at every site, no table of patients has to be kept, and nobody without the key can try numbers one by one.
"""

import base64
import hmac
import os
import secrets
import stat
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from covid_monai.dicom.elements import get_text

_KEY_BYTES = 32
_MIN_SHIFT_DAYS, _SHIFT_CHOICES = 365, 3288  # one to ten years back: no date of the result lies in the future

KEY_ADVICE = (
    "Keep it where the identities are kept, never beside the data. Whoever has it can test which pseudonym "
    "belongs to a known patient number; without it, later images of a patient get another pseudonym. "
    "There is no other copy."
)


@dataclass(frozen=True)
class Pseudonyms:
    """Answers that only the holder of the key can give.

    Args:
        key: 32 secret bytes.
    """

    key: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """Sixteen characters that tell two keys apart and tell nothing about either."""
        return self._digest("key", "").hex()[:16]

    def patient(self, patient: str) -> str:
        """Pseudonym of a patient: `P` and 16 letters or digits (80 bits).

        >>> Pseudonyms(bytes(32)).patient("12345")
        'P6ANYMD6VH6KNZQAJ'
        """
        return "P" + base64.b32encode(self._digest("patient", patient)[:10]).decode("ascii")

    def shift_days(self, patient: str) -> int:
        """Days by which all dates of a patient go back: 365 to 3,652."""
        return _MIN_SHIFT_DAYS + int.from_bytes(self._digest("dates", patient)[:8], "big") % _SHIFT_CHOICES

    def uid(self, uid: str) -> str:
        """New UID: `2.25.` and a version 8 UUID (PS3.5 B.2, RFC 9562); at most 44 characters."""
        return f"2.25.{uuid.UUID(bytes=_as_uuid8(self._digest('uid', uid)[:16])).int}"

    def _digest(self, purpose: str, value: str) -> bytes:
        message = f"covid-monai {purpose}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.digest(self.key, message, "sha256")


def patient_of(ds: Dataset) -> tuple[str, bool]:
    """Whom an object is about: PatientID, else its study, which then counts as a patient of its own.

    The issuer is not asked: often only part of a hospital's objects carries it.

    Returns:
        What to take the pseudonym of, and whether PatientID told it.
    """
    patient_id = get_text(ds, "PatientID")
    return (patient_id, True) if patient_id else (f"study {get_text(ds, 'StudyInstanceUID')}", False)


def load_key(path: Path) -> Pseudonyms:
    """Read a key file.

    Raises:
        FileNotFoundError: If there is none.
        PermissionError: If others than its owner may read it.
        ValueError: If it does not hold a key.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no key file there. Add --new-key to make one, once for all sites.")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise PermissionError(f"{path}: others than you may read this key. Run: chmod 600 {path}")
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:  # the content itself stays out of the message
        raise ValueError(
            f"{path}: no key; expected {2 * _KEY_BYTES} hexadecimal digits, as --new-key writes."
        )
    return Pseudonyms(key)


def create_key(path: Path) -> Pseudonyms:
    """Write a new random key with mode 0600, never over an existing file.

    Raises:
        FileExistsError: If the file exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    key = secrets.token_bytes(_KEY_BYTES)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise FileExistsError(f"{path}: exists already. Leave --new-key out to use it.") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(descriptor)
    return Pseudonyms(key)


def _as_uuid8(digest: bytes) -> bytes:
    """Set version and variant, so that the UUID says that its bits are the maker's own."""
    octets = bytearray(digest)
    octets[6] = (octets[6] & 0x0F) | 0x80
    octets[8] = (octets[8] & 0x3F) | 0x80
    return bytes(octets)
