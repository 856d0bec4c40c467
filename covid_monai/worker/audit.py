"""Audit trail: what was decided about which image, one line each, without patient identity.

Everyone who may search the archive can find the patient of a SOP Instance UID, and some devices build UIDs of
names or birth dates. By default a line therefore holds a keyed hash. Whoever has the key file can
look up a UID that they know, but nobody can read a UID from the trail.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from covid_monai.core.atomic_files import make_private_folder, open_private, write_text_atomically
from covid_monai.pacs.connection import UNKNOWN_ADDRESS, InstanceAddress, is_uid

KEY_FILE = "audit.key"
_ORTHANC_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")
_HASH_LETTERS = 32  # 128 bits


def read_key(path: Path) -> bytes:
    """Return the key of the hashes; `ValueError` if the file holds none."""
    key = path.read_text(encoding="ascii").strip().encode()
    if len(key) < 32:
        raise ValueError(f"{path} holds no key. Restore it from a backup, or remove it to get a new key.")
    return key


def _read_or_make_key(path: Path) -> bytes:
    if not path.exists():
        write_text_atomically(path, secrets.token_hex(32) + "\n")
    return read_key(path)


def hash_uid(uid: str, key: bytes) -> str:
    """Return the keyed hash that stands for a UID in audit trail and log."""
    return hmac.new(key, uid.encode(), hashlib.sha256).hexdigest()[:_HASH_LETTERS]


class AuditTrail:
    """Append-only file of JSON lines, which is made if it is missing; several threads may share it.

    The file is opened for each line, so that logrotate may move it at any time. UIDs are written as
    `identifiers` says, `hashed` or `plain`. The key of the hash is in `key_dir`; it is made if it is missing.
    """

    def __init__(self, path: Path, identifiers: str, key_dir: Path) -> None:
        self._path = path
        self._key = None if identifiers == "plain" else _read_or_make_key(key_dir / KEY_FILE)
        self._lock = threading.Lock()
        self._open().close()  # a folder that cannot be written is an error at the start

    def format_uid(self, uid: str) -> str | None:
        """Return the UID or its hash; None if the text is not a UID, because it can then be anything."""
        return self._protect(uid) if is_uid(uid) else None

    def format_orthanc_id(self, text: str) -> str | None:
        """Return Orthanc's identifier of an object, or its hash; None if the text is not one."""
        return self._protect(text) if _ORTHANC_ID.fullmatch(text) else None

    def _protect(self, uid: str) -> str:
        return uid if self._key is None else hash_uid(uid, self._key)

    def _open(self) -> FileIO:
        make_private_folder(self._path.parent)
        return open(self._path, "ab", buffering=0, opener=open_private)

    def write(self, event: str, address: InstanceAddress = UNKNOWN_ADDRESS, **values: Any) -> None:
        """Append one line; it is on disk when this returns.

        A value of None is left out. Never give text of the object itself.

        Raises:
            OSError: If the line cannot be written whole. Half a line is removed again.
        """
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            "instance": self.format_uid(address.sop_instance_uid),
            "study": self.format_uid(address.study_instance_uid),
            **values,
        }
        text = json.dumps({key: value for key, value in line.items() if value is not None}) + "\n"
        with self._lock, self._open() as file:
            self._append(file.fileno(), text.encode())

    def _append(self, file: int, line: bytes) -> None:
        end = os.fstat(file).st_size
        try:
            if os.write(file, line) < len(line):
                raise OSError(f"{self._path}: only part of a line could be written. Is the disk full?")
            os.fsync(file)
        except OSError:
            os.ftruncate(file, end)
            raise
