"""A place to drop files on, or to choose them: they go into memory, within the limits and the budget."""

import traceback
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException, Request
from nicegui import app, events, ui
from nicegui.element import Element

from covid_monai.api.request_body import file_body, read_body
from covid_monai.api.uploads import MIB, Limits, MemoryBudget, Upload, UploadError, plain_name, unpack_all

_SECONDS = 120.0  # for one body
_ACCEPT = ".dcm,.dicom,.ima,.jpg,.jpeg,.png,.zip,application/dicom,image/jpeg,image/png"


@dataclass(kw_only=True, slots=True)
class FilesDropped(events.UiEventArguments):
    """Event: one file has arrived."""

    uploads: list[Upload]  # the file, or the members of a zip archive in their order
    first: bool  # whether it is the first of the files that were dropped together


class Dropzone(Element, component=Path(__file__).parents[1] / "static" / "dropzone.js"):
    """Receives files from the browser, one request each, with the file itself as the body.

    NiceGUI's own `ui.upload` parses a form: it writes files of more than a megabyte to the server's disk, and
    has no limit that the server enforces.
    """

    def __init__(
        self,
        limits: Limits,
        budget: MemoryBudget,
        *,
        on_files: Callable[[FilesDropped], Awaitable[None] | None],
        title: str = "Drop images here, or choose files",
        multiple: bool = True,
    ) -> None:
        super().__init__()
        self._limits, self._budget, self._on_files = limits, budget, on_files
        self._url = f"/_covid_monai/{self.client.id}/{self.id}"
        self._props.update(
            url=self._url,
            title=title,
            hint=f"DICOM, JPEG, PNG, or a zip of these; at most {limits.max_file_bytes // MIB} MiB per file",
            accept=_ACCEPT,
            multiple=multiple,
            maxBytes=limits.max_file_bytes,
        )
        app.post(self._url, include_in_schema=False)(_receiver(weakref.ref(self)))
        self.on("rejected", lambda event: show_rejected(event.args["name"], event.args["problem"]))

    async def _receive(self, request: Request) -> dict[str, int]:
        name = plain_name(unquote(request.headers.get("x-file-name", "image")))
        try:
            body = file_body(name, self._limits)
            received = await read_body(request, body, self._limits, self._budget, seconds=_SECONDS)
            members = unpack_all(received, self._limits, self._budget)
            uploads = await to_thread.run_sync(list, members, limiter=_inflating())
        except UploadError as error:
            traceback.clear_frames(error.__traceback__)  # they hold the archive, and some of its members
            raise HTTPException(413, str(error)) from error
        if self.is_deleted:  # the visitor has left meanwhile
            raise HTTPException(404)
        first = request.headers.get("x-first-file") == "yes"
        arguments = FilesDropped(sender=self, client=self.client, uploads=uploads, first=first)
        events.handle_event(self._on_files, arguments)
        return {"files": len(uploads)}

    def _handle_delete(self) -> None:
        app.remove_route(self._url)
        super()._handle_delete()


@cache
def _inflating() -> CapacityLimiter:
    """Return the threads that inflate archives: few, because they keep the event loop from its turn."""
    return CapacityLimiter(2)


def _receiver(zone: "weakref.ref[Dropzone]") -> Callable[[Request], Awaitable[dict[str, int]]]:
    """Return a handler that does not keep the zone alive: FastAPI keeps handlers for a long time."""

    async def receive(request: Request) -> dict[str, int]:
        found = zone()
        if found is None:
            raise HTTPException(404)
        return await found._receive(request)

    return receive


def show_rejected(name: str, problem: str) -> None:
    """Show why a file was not accepted."""
    message = problem if problem.startswith(name) else f"{name}: {problem}"
    ui.notify(message, type="negative", close_button="Close", timeout=0)
