"""Lines of the audit trail about some UIDs, also from files that logrotate has moved and packed."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from covid_monai.worker.audit import KEY_FILE, hash_uid, read_key
from covid_monai.worker.inspection.queue_view import not_allowed

AuditLine = dict[str, Any]


class AuditReader:
    """Reader of an audit trail; it makes no file. UIDs are found as they are and as hashes of the key.

    `key_dir` is the state folder.

    Raises:
        PermissionError: If this user may not read the key.
        ValueError: If the file of the key holds none.
    """

    def __init__(self, path: Path, key_dir: Path) -> None:
        self._path = path
        self._key: bytes | None = None  # with `identifiers: plain` there is none
        try:
            self._key = read_key(key_dir / KEY_FILE)
        except FileNotFoundError:
            pass
        except PermissionError as error:
            raise not_allowed(key_dir / KEY_FILE) from error

    def names_of(self, uid: str) -> set[str]:
        """Return the forms in which a UID may stand in the trail."""
        return {uid} if self._key is None else {uid, hash_uid(uid, self._key)}

    def lines_about(self, uids: Iterable[str]) -> list[AuditLine]:
        """Return the lines that name one of the UIDs as image, study or result, oldest first.

        Raises:
            PermissionError: If this user may not read the trail.
        """
        names = {name for uid in uids for name in self.names_of(uid)}
        found = []
        for path in self._path.parent.glob(f"{self._path.name}*"):
            try:
                with _open(path) as file:
                    found += list(_matching(file, names))
            except PermissionError as error:
                raise not_allowed(path) from error
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise OSError(f"{path} is damaged ({error}). Move it to another folder.") from error
        return sorted(found, key=lambda line: str(line.get("time")))


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")


def _matching(file: TextIO, names: set[str]) -> Iterator[AuditLine]:
    for text in file:
        if not any(name in text for name in names):  # most lines: not worth parsing
            continue
        try:
            line = json.loads(text)
        except ValueError:  # half a line that a power cut has left
            continue
        if isinstance(line, dict) and names & {
            line.get("instance"),
            line.get("study"),
            *line.get("results", ()),
        }:
            yield line
