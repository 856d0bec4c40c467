"""Files out of a multipart/form-data body, as it comes in, in memory.

Starlette's own parser writes every part of more than a megabyte to a file in /tmp.
"""

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from covid_monai.api.problems import ProblemError, invalid
from covid_monai.api.schemas import FieldProblem
from covid_monai.api.uploads import Limits, Upload, plain_name

FIELD = "files"


class MultipartFiles:
    """Takes a body piece by piece; see RFC 7578.

    Args:
        content_type: Of the request, with the boundary.
        limits: Checked while the body comes in.

    Raises:
        ProblemError: If there is no boundary.
    """

    def __init__(self, content_type: str, limits: Limits) -> None:
        self._limits = limits
        self._parts: list[tuple[str, bytearray]] = []
        self._header = self._value = self._disposition = b""
        self._complete = False
        _, options = parse_options_header(content_type)
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._add_header,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_content,
                    "on_part_data": self._add_content,
                    "on_end": self._end,
                },
            )
        except (KeyError, FormParserError) as error:
            raise ProblemError(
                "malformed", "A multipart body needs a boundary in its Content-Type."
            ) from error

    def write(self, piece: bytes) -> None:
        """Take the next piece of the body.

        Raises:
            LimitExceeded: If it is too much.
            ProblemError: If it is not multipart, or a part is no file.
        """
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise ProblemError("malformed", "The body is not multipart/form-data.") from error

    def uploads(self) -> list[Upload]:
        """The files, when the body is complete.

        Raises:
            ProblemError: If it stops before its end, or has no file.
        """
        if not self._complete:
            raise ProblemError("malformed", "The multipart body stops before its end.")
        if not self._parts:
            raise invalid([FieldProblem(field=FIELD, detail="send at least one file")])
        uploads = [Upload(name, bytes(content)) for name, content in self._parts]
        self._parts.clear()
        return uploads

    def _begin(self) -> None:
        self._header = self._value = self._disposition = b""

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _begin_content(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            detail = "send every file in a part of this name, with a file name"
            raise invalid([FieldProblem(field=FIELD, detail=detail)])
        self._limits.check_count(len(self._parts) + 1)
        name = plain_name(options[b"filename"].decode("utf-8", "replace"))
        self._parts.append((name, bytearray()))

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        name, content = self._parts[-1]
        content += data[start:end]
        self._limits.check_file(name, len(content))

    def _end(self) -> None:
        self._complete = True
