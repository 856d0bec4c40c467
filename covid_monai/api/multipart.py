"""Files in a multipart/form-data body, read into memory as they come in.

Starlette's own parser writes every part of more than a megabyte to a file in /tmp.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from python_multipart.multipart import parse_options_header

from covid_monai.api.problems import ProblemError, invalid
from covid_monai.api.schemas import FieldProblem
from covid_monai.api.uploads import Limits, Upload, plain_name
from covid_monai.pacs.multipart import Headers, MalformedMultipart, MultipartReader, TakeContent

FIELD = "files"


class MultipartFiles:
    """Read the files of a body piece by piece (RFC 7578), and check the limits while it comes in.

    Raises:
        ProblemError: If the Content-Type has no boundary.
    """

    def __init__(self, content_type: str, limits: Limits) -> None:
        self._limits = limits
        self._parts: list[tuple[str, BytesIO]] = []
        with _malformed_as_problem():
            self._reader = MultipartReader(content_type, self._open_part)

    def write(self, piece: bytes) -> None:
        """Read the next piece of the body.

        Raises:
            LimitExceeded: If the body exceeds a limit.
            ProblemError: If the body is not multipart, or a part is not a file.
        """
        with _malformed_as_problem():
            self._reader.write(piece)

    def uploads(self) -> list[Upload]:
        """Return the files, or raise `ProblemError` if the body stops before its end or has no file."""
        with _malformed_as_problem():
            self._reader.close()
        if not self._parts:
            raise invalid([FieldProblem(field=FIELD, detail="send at least one file")])
        uploads = [Upload(name, content.getvalue()) for name, content in self._parts]
        self._parts.clear()
        return uploads

    def discard(self) -> None:
        """Free what has arrived."""
        for _, content in self._parts:
            content.close()

    def _open_part(self, headers: Headers) -> TakeContent:
        _, options = parse_options_header(headers.get(b"content-disposition", b""))
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            detail = "send every file in a part of this name, with a file name"
            raise invalid([FieldProblem(field=FIELD, detail=detail)])
        self._limits.check_count(len(self._parts) + 1)
        name, content = plain_name(options[b"filename"].decode("utf-8", "replace")), BytesIO()
        self._parts.append((name, content))

        def take(data: memoryview) -> None:
            content.write(data)
            self._limits.check_file(name, content.tell())

        return take


@contextmanager
def _malformed_as_problem() -> Iterator[None]:
    try:
        yield
    except MalformedMultipart as error:
        raise ProblemError("malformed", str(error)) from error
