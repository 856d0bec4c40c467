"""What was decided about which image, line by line, without patient identity.

A SOP Instance UID leads to a patient for everyone who may search the archive, and some devices build it of
name or birth date. By default a line therefore holds a keyed hash: whoever has the key file can look up a UID
that they know, nobody can read one off.
"""

import hashlib
import hmac
import json
import os
import secrets
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from covid_monai.core.atomic_files import replace_atomically
from covid_monai.worker.rules import UID

KEY_FILE = "audit.key"
_HASH_LETTERS = 32  # 128 bits


class Identifiers:
    """UIDs as audit and log show them.

    Args:
        kind: `hashed` or `plain`.
        folder: Where the key lies; it is made if it is missing.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self._key = None if kind == "plain" else _key(folder / KEY_FILE)

    def show(self, uid: str) -> str | None:
        """The UID or its hash; None for what is no UID, which may be anything."""
        if not UID.fullmatch(uid):
            return None
        if self._key is None:
            return uid
        return hmac.new(self._key, uid.encode(), hashlib.sha256).hexdigest()[:_HASH_LETTERS]


def _key(path: Path) -> bytes:
    if not path.exists():
        with replace_atomically(
            path
        ) as temporary:  # whole or not at all, and for nobody else from the first moment on
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
    key = path.read_text(encoding="ascii").strip().encode()
    if len(key) < 32:
        raise ValueError(
            f"{path} holds no key: restore it from a backup, or remove it to have a new one made."
        )
    return key


class AuditTrail:
    """An append-only file of JSON lines, opened anew when logrotate has moved it; safe between threads.

    Args:
        path: Made if it is missing.
        identifiers: How UIDs are shown.
    """

    def __init__(self, path: Path, identifiers: Identifiers) -> None:
        self._path = path
        self._identifiers = identifiers
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o640)

    def write(self, event: str, *, instance: str = "", study: str = "", **values: Any) -> None:
        """Append one line; it is on disk when this returns.

        Args:
            event: `answered`, `refused`, `dead_letter`...
            instance: SOP Instance UID of the image.
            study: Study Instance UID.
            values: Plain values; None is left out. Never text of the object itself.

        Raises:
            OSError: If it cannot be written whole; a line is not begun twice.
        """
        shown = {"instance": self._identifiers.show(instance), "study": self._identifiers.show(study)}
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            **shown,
            **values,
        }
        text = json.dumps({key: value for key, value in line.items() if value is not None}) + "\n"
        with self._lock:
            self._follow()
            self._append(text.encode())

    def _follow(self) -> None:
        """Open the file again if another one, or none, stands at its path."""
        try:
            moved = os.stat(self._path).st_ino != os.fstat(self._file).st_ino  # noqa: PTH116
        except FileNotFoundError:
            moved = True
        if moved:
            os.close(self._file)
            self._open()

    def _append(self, line: bytes) -> None:
        end = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(f"{self._path}: only part of a line could be written")
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, end)  # a full disk takes half a line
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
