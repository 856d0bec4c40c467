"""The body of a request as uploads in memory: limited in size, in time, and by the memory budget."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from io import BytesIO

from anyio import to_thread
from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from covid_monai.api.multipart import MultipartFiles
from covid_monai.api.problems import ProblemError, field_problems, invalid
from covid_monai.api.schemas import DicomJsonInstance, Reference
from covid_monai.api.uploads import MIB, LimitExceeded, Limits, MemoryBudget, Upload, UploadError

RAW_TYPES = (
    *("application/dicom", "image/jpeg", "image/png"),
    *("application/zip", "application/octet-stream"),
)
JSON, DICOM_JSON, MULTIPART = "application/json", "application/dicom+json", "multipart/form-data"
ACCEPTED = (MULTIPART, *RAW_TYPES, JSON, DICOM_JSON)
_DICOM_JSON_BODY = TypeAdapter(list[DicomJsonInstance])
_MAX_JSON_BYTES = 4 * MIB
_DRAIN_SECONDS = 3.0

Fetch = Callable[[list[str]], Iterable[Upload]]


class BufferedBody:
    """A body that is collected as a whole; `check_size` raises `LimitExceeded` while it arrives."""

    def __init__(
        self, check_size: Callable[[int], None], to_uploads: Callable[[bytes], Iterable[Upload]]
    ) -> None:
        self._check_size = check_size
        self._to_uploads = to_uploads
        self._content = BytesIO()  # gives its bytes away without a second copy

    def write(self, piece: bytes) -> None:
        """Take the next piece."""
        self._content.write(piece)
        self._check_size(self._content.tell())

    def uploads(self) -> Iterable[Upload]:
        """Return the files of the complete body."""
        return self._to_uploads(self._content.getvalue())

    def discard(self) -> None:
        """Free what has arrived."""
        self._content.close()


Body = BufferedBody | MultipartFiles


async def read_body(
    request: Request, body: Body, limits: Limits, budget: MemoryBudget, *, seconds: float
) -> Iterable[Upload]:
    """Read the body of a request; its files count against the budget as long as they are referred to.

    Raises:
        UploadError: If the body exceeds the limits or the memory budget, as soon as that is known.
        ProblemError: If the body is compressed or malformed, or takes longer than `seconds`.
    """
    pieces = request.stream()
    try:
        _check_not_compressed(request)
        limits.check_total(int(request.headers.get("content-length", 0)))
        with budget.arrival() as arrival:
            async with asyncio.timeout(seconds):
                async for piece in pieces:
                    arrival.add(len(piece))
                    limits.check_total(arrival.size)
                    body.write(piece)
            uploads = await to_thread.run_sync(body.uploads)
            # Files that are still to be fetched count while they are fetched.
            return [arrival.keep(one) for one in uploads] if isinstance(uploads, list) else uploads
    except (UploadError, ProblemError, TimeoutError) as error:
        body.discard()  # it is not counted any more
        if "expect" not in request.headers:  # such a client waits for an answer before it sends
            await _drain(pieces)
        if not isinstance(error, TimeoutError):
            raise
        detail = (
            f"The body had not arrived after {seconds:g} s. Send smaller files, or use a faster connection."
        )
        raise ProblemError("too-slow", detail, headers={"Connection": "close"}) from error


def _check_not_compressed(request: Request) -> None:
    """Refuse a Content-Encoding, which says nothing of what it inflates to (RFC 9110 section 8.4)."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("identity", ""):
        detail = "A Content-Encoding of the body is not supported. Send the files as they are, or as a zip."
        raise ProblemError("unsupported-type", detail, headers={"Accept-Encoding": "identity"})


def file_body(name: str, limits: Limits) -> BufferedBody:
    """Return the body that is one file, or one zip archive, of this name."""
    return BufferedBody(partial(limits.check_file, name), lambda data: [Upload(name, data)])


def _address_body(fetch: Fetch, *, several: bool) -> BufferedBody:
    """Return the body that names images in an archive: an answer of QIDO-RS, or one `Reference`."""

    def fetch_all(data: bytes) -> Iterable[Upload]:
        try:
            if several:
                instances = _DICOM_JSON_BODY.validate_json(data)
                return fetch([instance.retrieve_url.Value[0] for instance in instances])
            return fetch([Reference.model_validate_json(data).dicomweb_url])
        except ValidationError as error:
            raise invalid(field_problems(error.errors(include_input=False))) from error

    return BufferedBody(_check_json_size, fetch_all)


def _check_json_size(size: int) -> None:
    if size > _MAX_JSON_BYTES:
        raise LimitExceeded(
            f"The JSON body is larger than {_MAX_JSON_BYTES // MIB} MiB. Send fewer addresses at once."
        )


def body_of_type(content_type: str, limits: Limits, fetch: Fetch) -> Body:
    """Choose how to read a body by its Content-Type."""
    media_type = content_type.split(";")[0].strip().lower()
    if media_type == MULTIPART:
        return MultipartFiles(content_type, limits)
    if media_type in RAW_TYPES:
        return file_body("body", limits)
    if media_type in (JSON, DICOM_JSON):
        return _address_body(fetch, several=media_type == DICOM_JSON)
    raise ProblemError(
        "unsupported-type",
        f"This Content-Type is not supported. Send one of: {', '.join(ACCEPTED)}.",
        headers={"Accept-Post": ", ".join(ACCEPTED)},
    )


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read and discard the rest of a body for a short time: a client that still sends reads no answer."""
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in pieces:
                pass
