"""Reader of multipart bodies: multipart/related from archives, multipart/form-data from callers."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_PREAMBLE_BYTES = 1 << 16

Headers = dict[bytes, bytes]
TakeContent = Callable[[memoryview], object]


class MalformedMultipart(ValueError):
    """A body that is not a multipart message, or that stops before its end."""


class MultipartReader:
    """Read a multipart body (RFC 2046 section 5.1) as it comes in, without holding it in memory.

    `open_part` is called at the start of each part with the part's headers (names in lower case). It returns
    the function that takes the part's content, piece by piece.

    Raises:
        MalformedMultipart: If `content_type` has no boundary.
    """

    def __init__(self, content_type: str, open_part: Callable[[Headers], TakeContent]) -> None:
        self._open_part = open_part
        self._headers: Headers = {}
        self._name, self._value = bytearray(), bytearray()
        self._preamble: bytes | None = b""
        self._complete = False
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise MalformedMultipart("A multipart body needs a boundary in its Content-Type.")
        self._delimiter = b"--" + boundary
        callbacks: MultipartCallbacks = {
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_content,
            "on_part_data": self._add_content,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError as error:
            raise MalformedMultipart("The boundary in the Content-Type is too long.") from error

    def write(self, piece: bytes) -> None:
        """Read the next piece; errors of `open_part` and of the functions that take content are passed on.

        Raises:
            MalformedMultipart: If the body is not multipart.
        """
        if self._preamble is not None:
            piece = self._skip_preamble(piece)
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise MalformedMultipart("The body is not a multipart message.") from error

    def close(self) -> None:
        """Raise `MalformedMultipart` if the body stops before its end."""
        if not self._complete:
            raise MalformedMultipart("The multipart body stops before its end.")

    def _skip_preamble(self, piece: bytes) -> bytes:
        """Return what comes from the first delimiter on; RFC 2046 allows any text before it."""
        seen = (self._preamble or b"") + piece
        start = seen.find(self._delimiter)
        self._preamble = None if start >= 0 else seen
        if start < 0 and len(seen) > _MAX_PREAMBLE_BYTES:
            raise MalformedMultipart("The body is not a multipart message.")
        return seen[start:] if start >= 0 else b""

    def _end_header(self) -> None:
        self._headers[bytes(self._name.lower())] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _begin_content(self) -> None:
        self._take_content = self._open_part(self._headers)
        self._headers = {}

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        self._take_content(memoryview(data)[start:end])

    def _end(self) -> None:
        self._complete = True


def write_first_part(pieces: Iterable[bytes], content_type: str, file: BinaryIO) -> None:
    """Write the object in an answer of WADO-RS (PS3.18 section 8.6.1.2) to an open file.

    A file is first checked in a process with limits, so the bytes go to disk without being looked at. Some
    archives send `application/dicom` without multipart.

    Raises:
        MalformedMultipart: If the answer has no part, or stops before its end.
        OSError: If the file cannot be written.
    """
    kind = content_type.lower()
    if not kind.startswith("multipart/") and "dicom" not in kind:
        raise MalformedMultipart("The answer is neither multipart nor DICOM.")
    if not kind.startswith("multipart/"):
        for piece in pieces:
            file.write(piece)
        return
    takers: Iterator[TakeContent] = iter([file.write])
    # The first part goes to the file; `len` throws away the content of any other part.
    reader = MultipartReader(content_type, lambda _: next(takers, len))
    for piece in pieces:
        reader.write(piece)
    reader.close()
    if next(takers, None):
        raise MalformedMultipart("The multipart answer has no part.")
