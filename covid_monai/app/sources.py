"""Where images come from: dropped files, examples, a folder of the server, a URL."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from nicegui import ui

from covid_monai.api.uploads import Upload, UploadError, unpack
from covid_monai.app.desk import Desk
from covid_monai.app.dropzone import Dropzone, Rejected
from covid_monai.app.folder import folders_below, images_in, read_upload
from covid_monai.app.remote import FetchError, fetch
from covid_monai.app.widgets.examples import EXAMPLES, Example

Add = Callable[[list[Upload], bool], Awaitable[None]]  # images, and whether to show the first


def build_sources(desk: Desk, add: Add) -> ui.expansion:
    """Show what this desk allows; folded away once there are images."""
    with ui.expansion("Add images", icon="add_photo_alternate", value=True).classes(
        "sources card"
    ) as sources:
        with ui.element("div").classes("sources-grid"):
            Dropzone(
                desk.limits, on_files=lambda event: add(event.uploads, event.first), on_rejected=show_rejected
            )
            with ui.element("div").classes("other-sources"):
                _examples(add)
                if desk.folder is not None:
                    _folder(desk, desk.folder, add)
                if desk.allow_urls:
                    _url(desk, add)
        ui.label("Images stay in this server's memory while the page is open. No disk, no log.").classes(
            "dim small"
        )
    return sources


def show_rejected(event: Rejected) -> None:
    """Say that a file was not taken."""
    problem = event.problem if event.problem.startswith(event.name) else f"{event.name}: {event.problem}"
    ui.notify(problem, type="negative", close_button="Close", timeout=0)


def _examples(add: Add) -> None:
    async def show(example: Example) -> None:
        await add([await asyncio.to_thread(example.draw)], True)

    ui.label("Or an example: synthetic, drawn by a program, no patient").classes("small source-title")
    with ui.row().classes("examples"):
        for example in EXAMPLES:
            ui.button(example.title, on_click=lambda example=example: show(example)).props(
                "outline dense no-caps"
            )


def _folder(desk: Desk, root: Path, add: Add) -> None:
    folders = folders_below(root)

    async def take() -> None:
        try:
            files = await asyncio.to_thread(images_in, root, select.value, desk.limits)
            await add([await asyncio.to_thread(read_upload, file, desk.limits) for file in files], True)
        except (UploadError, OSError) as error:
            ui.notify(str(error), type="negative", close_button="Close", timeout=0)

    ui.label("Or a folder of the server").classes("small source-title")
    with ui.row().classes("source-row"):
        select = ui.select(folders, value=folders[0], label="Folder").classes("grow")
        ui.button("Add its images", on_click=take).props("outline no-caps")


def _url(desk: Desk, add: Add) -> None:
    async def take() -> None:
        button.props("loading")
        try:
            name, data = await asyncio.to_thread(fetch, field.value or "", desk.limits, desk.url_hosts)
            await add(list(unpack(name, data, desk.limits)), True)
        except (FetchError, UploadError) as error:
            ui.notify(str(error), type="negative", close_button="Close", timeout=0)
        finally:
            button.props(remove="loading")

    ui.label("Or a URL, which the server fetches").classes("small source-title")
    with ui.row().classes("source-row"):
        field = ui.input("URL").props("type=url").classes("grow").on("keydown.enter", take)
        button = ui.button("Fetch", on_click=take).props("outline no-caps")
