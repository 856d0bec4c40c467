"""The one object out of a multipart answer, straight into a file.

dicomweb-client parses what it retrieves in memory, in this process. A file is checked in a process with
limits first, so the bytes go to disk unseen.
"""

from collections.abc import Iterable
from pathlib import Path

from requests.structures import CaseInsensitiveDict

_MAX_HEAD = 1 << 16
_TAIL = 1 << 10


class BadAnswer(ValueError):
    """An answer that is no multipart message, or that stops before its end."""


def write_only_part(pieces: Iterable[bytes], headers: CaseInsensitiveDict, path: Path) -> None:
    """Write the content of the first part.

    Args:
        pieces: The body.
        headers: Of the answer. A body of `application/dicom` is taken as it is: some archives send that.
        path: Written anew.

    Raises:
        BadAnswer: If there is no part, or its end is missing.
        OSError: If the file cannot be written.

    Reference: PS3.18 section 8.6.1.2; RFC 2046 section 5.1.
    """
    content_type = headers.get("Content-Type", "")
    with path.open("wb") as file:
        if not content_type.lower().startswith("multipart/"):
            if "dicom" not in content_type.lower():
                raise BadAnswer("neither multipart nor DICOM")
            for piece in pieces:
                file.write(piece)
            return
        iterator = iter(pieces)
        boundary, rest = _head(iterator)
        file.write(rest)
        for piece in iterator:
            file.write(piece)
    _cut_tail(path, b"\r\n" + boundary)


def _head(pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    """The delimiter line, and what has been read behind the first part's header."""
    seen = b""
    for piece in pieces:
        seen += piece
        start = seen.find(b"--")
        head, blank, rest = seen[max(start, 0) :].partition(b"\r\n\r\n")
        if blank and start >= 0:
            return head.split(b"\r\n", 1)[0], rest
        if len(seen) > _MAX_HEAD:
            break
    raise BadAnswer("no part in it")


def _cut_tail(path: Path, delimiter: bytes) -> None:
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        start = max(0, size - _TAIL)
        file.seek(start)
        found = file.read().rfind(delimiter)
        if found < 0:
            raise BadAnswer("it stops before its end")
        file.truncate(start + found)
