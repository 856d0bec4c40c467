"""From a request to uploads in memory: bounded in bytes and time, and over all requests together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from covid_monai.api.multipart import MultipartFiles
from covid_monai.api.problems import ProblemError, field_problems, invalid
from covid_monai.api.schemas import DicomJsonInstance, Reference
from covid_monai.api.uploads import MIB, LimitExceeded, Limits, Upload

RAW_TYPES = (
    "application/dicom",
    "image/jpeg",
    "image/png",
    "application/zip",
    "application/octet-stream",
)
JSON, DICOM_JSON, MULTIPART = "application/json", "application/dicom+json", "multipart/form-data"
ACCEPTED = (MULTIPART, *RAW_TYPES, JSON, DICOM_JSON)
DICOM_JSON_BODY = TypeAdapter(list[DicomJsonInstance])
_MAX_JSON_BYTES = 4 * MIB
_DRAIN_SECONDS = 3.0

Fetch = Callable[[list[str]], Iterable[Upload]]


class _Sink(Protocol):
    def write(self, piece: bytes) -> None: ...

    def uploads(self) -> Iterable[Upload]: ...


class Intake:
    """Takes bodies in.

    Args:
        limits: Of one request.
        max_held_bytes: Of all requests together; a body that would go beyond is told to come later.
        seconds: Longest time for one body.
        fetch: Makes uploads of WADO-RS addresses.
    """

    def __init__(self, limits: Limits, *, max_held_bytes: int, seconds: float, fetch: Fetch) -> None:
        self._limits = limits
        self._max_held = max_held_bytes
        self._seconds = seconds
        self._fetch = fetch
        self._held = 0

    @asynccontextmanager
    async def uploads(self, request: Request) -> AsyncIterator[Iterable[Upload]]:
        """What a request holds; its bytes count as held until the block ends.

        Raises:
            ProblemError: If it cannot be taken.
        """
        sink = self._sink(request.headers.get("content-type", ""))
        size, pieces = 0, request.stream()
        try:
            async with _time_for(self._seconds):
                async for piece in pieces:
                    size += len(piece)
                    self._held += len(piece)
                    self._check(size)
                    sink.write(piece)
        except (LimitExceeded, ProblemError):
            if "expect" not in request.headers:  # such a client waits for a word before it sends
                await _let_pass(pieces)
            raise
        else:
            yield sink.uploads()
        finally:
            self._held -= size

    def _sink(self, content_type: str) -> _Sink:
        kind = content_type.split(";")[0].strip().lower()
        if kind == MULTIPART:
            return MultipartFiles(content_type, self._limits)
        if kind in RAW_TYPES:
            return _RawFile(self._limits)
        if kind in (JSON, DICOM_JSON):
            return _Addresses(self._fetch, several=kind == DICOM_JSON)
        raise ProblemError(
            "unsupported-type",
            f"Send {', '.join(ACCEPTED)}.",
            headers={"Accept-Post": ", ".join(ACCEPTED)},
        )

    def _check(self, size: int) -> None:
        self._limits.check_total(size)
        if self._held > self._max_held:
            raise ProblemError("busy", "The memory for uploads is in use.", headers={"Retry-After": "5"})


class _RawFile:
    """A body that is one file, or one zip archive."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._content = bytearray()

    def write(self, piece: bytes) -> None:
        self._content += piece
        self._limits.check_file("The body", len(self._content))

    def uploads(self) -> list[Upload]:
        return [Upload("body", bytes(self._content))]


class _Addresses:
    """A body that names images in an archive."""

    def __init__(self, fetch: Fetch, *, several: bool) -> None:
        self._fetch = fetch
        self._several = several
        self._content = bytearray()

    def write(self, piece: bytes) -> None:
        self._content += piece
        if len(self._content) > _MAX_JSON_BYTES:
            raise LimitExceeded(f"More than {_MAX_JSON_BYTES // MIB} MiB of JSON.")

    def uploads(self) -> Iterable[Upload]:
        try:
            if self._several:
                instances = DICOM_JSON_BODY.validate_json(bytes(self._content))
                return self._fetch([instance.retrieve_url.Value[0] for instance in instances])
            return self._fetch([Reference.model_validate_json(bytes(self._content)).dicomweb_url])
        except ValidationError as error:
            raise invalid(field_problems(error.errors(include_input=False))) from error


@asynccontextmanager
async def _time_for(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise ProblemError(
            "too-slow", f"The body was not there after {seconds:g} s.", headers={"Connection": "close"}
        ) from error


async def _let_pass(pieces: AsyncIterator[bytes]) -> None:
    """Throw away what still comes, for a while: a client that is sending hears no answer."""
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in pieces:
                pass
