"""A place to drop files on, or to pick them: into memory and nowhere else, and no more than is allowed."""

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

from fastapi import HTTPException, Request
from nicegui import app, events
from nicegui.element import Element

from covid_monai.api.uploads import Limits, Upload, UploadError, unpack
from covid_monai.app.room import ROOM, TIMES_A_VISITOR

_SECONDS = 120.0  # for one body
ACCEPT = ".dcm,.dicom,.ima,.jpg,.jpeg,.png,.zip,application/dicom,image/jpeg,image/png"


@dataclass(kw_only=True, slots=True)
class Dropped(events.UiEventArguments):
    """What came with one file: itself, or the members of a zip archive.

    Args:
        uploads: In the order of the archive.
        first: Whether it is the first of the files that were dropped together.
    """

    uploads: list[Upload]
    first: bool


@dataclass(kw_only=True, slots=True)
class Rejected(events.UiEventArguments):
    """A file that was not taken."""

    name: str
    problem: str


class Dropzone(Element, component="dropzone.js"):
    """Takes files from the browser, one request each, with the file itself as its body.

    NiceGUI's own `ui.upload` parses a form, which puts what exceeds a megabyte into a file on the server's
    disk, and has no limit that the server enforces.

    Args:
        limits: Counted while a body arrives.
        on_files: Called in the visitor's page for each file.
        on_rejected: Likewise for each that was not taken.
        title: What it says in large letters.
        multiple: Whether several files can be dropped at once.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        on_files: Callable[[Dropped], Awaitable[None] | None],
        on_rejected: Callable[[Rejected], None],
        title: str = "Drop images here, or choose files",
        multiple: bool = True,
    ) -> None:
        super().__init__()
        self._limits, self._on_files = limits, on_files
        self._url = f"/_covid_monai/{self.client.id}/{self.id}"
        self._props.update(
            url=self._url,
            title=title,
            hint=f"DICOM, JPEG, PNG or a zip of them; {limits.max_file_bytes >> 20} MiB a file at most",
            accept=ACCEPT,
            multiple=multiple,
            maxBytes=limits.max_file_bytes,
        )
        app.post(self._url, include_in_schema=False)(_receiver(weakref.ref(self)))
        self.on(
            "rejected",
            lambda event: events.handle_event(on_rejected, self._rejected(event.args)),
        )

    async def _receive(self, request: Request) -> dict[str, int]:
        name = unquote(request.headers.get("x-file-name", "image"))
        most = TIMES_A_VISITOR * self._limits.max_total_bytes
        uploads = []
        try:
            for upload in unpack(name, await read_body(request, name, self._limits), self._limits):
                ROOM.keep(upload, most)
                uploads.append(upload)
        except UploadError as error:
            raise HTTPException(413, str(error)) from error
        except TimeoutError as error:
            raise HTTPException(408, f"The file was not there after {_SECONDS:g} s.") from error
        first = request.headers.get("x-first-file") == "yes"
        arguments = Dropped(sender=self, client=self.client, uploads=uploads, first=first)
        events.handle_event(self._on_files, arguments)
        return {"files": len(uploads)}

    def _rejected(self, found: dict[str, str]) -> Rejected:
        return Rejected(sender=self, client=self.client, name=found["name"], problem=found["problem"])

    def _handle_delete(self) -> None:
        app.remove_route(self._url)
        super()._handle_delete()


def _receiver(zone: "weakref.ref[Dropzone]") -> Callable[[Request], Awaitable[dict[str, int]]]:
    """A handler that does not keep the zone, and with it the visitor: FastAPI remembers handlers for long."""

    async def receive(request: Request) -> dict[str, int]:
        found = zone()
        if found is None:
            raise HTTPException(404)
        return await found._receive(request)

    return receive


async def read_body(request: Request, name: str, limits: Limits) -> bytes:
    """The body of a request, in memory, as far as it is allowed.

    Raises:
        LimitExceeded: Before the first byte is read where the request says its length, else while it comes;
            and where there is no room for all visitors together.
        TimeoutError: If it takes too long.
    """
    limits.check_file(name, int(request.headers.get("content-length", 0)))
    body, most = bytearray(), TIMES_A_VISITOR * limits.max_total_bytes
    with ROOM.counting() as tally:
        async with asyncio.timeout(_SECONDS):
            async for piece in request.stream():
                tally.add(len(piece), most)
                body += piece
                limits.check_file(name, len(body))
    return bytes(body)
