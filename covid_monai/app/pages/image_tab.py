"""The image tab: images are added, listed with their results, and displayed one at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.api.uploads import LimitExceeded, Upload, UploadError, unpack_all
from covid_monai.app.evaluation import choices, evaluation_of
from covid_monai.app.pages.image_result import ImageResult, ResultSettings, announcement
from covid_monai.app.session import AppContext, ClassifiedImage, ImageSession
from covid_monai.app.sources import EXAMPLES, images_in
from covid_monai.app.url_fetch import FetchError
from covid_monai.app.widgets.dropzone import Dropzone
from covid_monai.app.widgets.elements import folder_choice, warn
from covid_monai.app.widgets.result import OutcomeStyle, legend, outcome_label

ImageAction = Callable[[ClassifiedImage], Awaitable[None]]


class ImageTab:
    """The tab of one visitor."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        classifier = context.model.engine.classifier
        self._session = ImageSession(context.model, context.limits)
        settings = ResultSettings(choices(classifier.operating_point, classifier.class_names))
        self._result = ImageResult(context.model, settings, evaluation_of(context.model), self._show_list)
        self._selected: ClassifiedImage | None = None
        self._one_at_a_time = asyncio.Lock()
        self._fetching = False
        self._sources = self._place_sources()
        self._live = ui.label().classes("sr-only").props("role=status aria-live=polite")
        self._working = ui.spinner(size="lg").props("aria-label=Working").classes("working")
        self._working.visible = False
        self._list = ImageList(self._result.style, select=self.select, remove=self.remove)
        self._place = ui.element("div").classes("place")
        with self._place:
            legend()
        ui.context.client.on_delete(self._session.clear)

    def _place_sources(self) -> ui.expansion:
        """Show where images can come from; folded away once there are images."""
        expansion = ui.expansion("Add images", icon="add_photo_alternate", value=True)
        with expansion.classes("sources card"):
            with ui.element("div").classes("sources-grid"):
                limits, budget = self._context.limits, self._context.budget
                Dropzone(limits, budget, on_files=lambda event: self.add(event.uploads, show=event.first))
                with ui.element("div").classes("other-sources"):
                    self._place_examples()
                    if self._context.folder is not None:
                        self._place_folder(self._context.folder)
                    if self._context.allow_urls:
                        self._place_url()
            ui.label(
                "Images stay in the server's memory while this page is open. They are written to no disk and "
                "no log."
            ).classes("dim small")
        return expansion

    def _place_examples(self) -> None:
        ui.label("Or an example: synthetic, drawn by a program, no patient").classes("small source-title")
        with ui.row().classes("examples"):
            for example in EXAMPLES:
                button = ui.button(example.title).props("outline dense no-caps")
                button.on_click(lambda example=example: self._add_from(lambda: [example.draw()]))

    def _place_folder(self, root: Path) -> None:
        def load() -> Iterable[Upload]:
            for file in images_in(root, select.value, self._context.limits, self._context.budget):
                yield file.load()  # one after another, so that the limits hold while they are read

        ui.label("Or a folder of the server").classes("small source-title")
        with ui.row().classes("source-row"):
            select = folder_choice(root, label="Folder").classes("grow")
            ui.button("Add its images", on_click=lambda: self._add_from(load)).props("outline no-caps")

    def _place_url(self) -> None:
        async def add() -> None:
            if self._fetching:  # the button says so, but a visitor's browser may be any program
                return
            self._fetching = True
            button.props("loading")
            try:
                upload = await self._context.fetcher.fetch(field.value or "")
            except (FetchError, UploadError) as error:
                warn(str(error))
            else:
                await self._add_from(lambda: [upload])
            finally:
                self._fetching = False
                button.props(remove="loading")

        ui.label("Or a URL, which the server fetches").classes("small source-title")
        with ui.row().classes("source-row"):
            field = ui.input("URL").props("type=url").classes("grow").on("keydown.enter", add)
            button = ui.button("Fetch", on_click=add).props("outline no-caps")

    async def _add_from(self, load: Callable[[], Iterable[Upload]]) -> None:
        """Load files in a thread, and add them."""
        context = self._context
        try:
            uploads = await asyncio.to_thread(
                lambda: list(unpack_all(load(), context.limits, context.budget))
            )
        except UploadError as error:
            warn(str(error))
        except OSError as error:
            warn(f"The file cannot be read ({error.strerror}). Try again, or choose another one.")
        else:
            await self.add(uploads, show=True)

    async def add(self, uploads: list[Upload], *, show: bool) -> None:
        """Classify images, in the order in which they came."""
        images: list[ClassifiedImage] = []
        async with self._one_at_a_time:
            self._working.visible = True
            try:
                for upload in uploads:
                    self._live.text = f"Reading {upload.name}"
                    images.append(image := await self._session.add(upload))
                    self._live.text = announcement(image, self._result.style(image))
                    self._show_list()
            except (Busy, LimitExceeded) as error:
                warn(str(error))
            finally:
                self._working.visible = False
        if images and (show or self._selected is None):
            await self.select(images[0])

    async def select(self, image: ClassifiedImage) -> None:
        """Display another image."""
        self._selected = image
        self._show_list()
        self._place.clear()
        with self._place:
            await self._result.show(image)

    async def remove(self, image: ClassifiedImage) -> None:
        """Remove an image, and free its memory."""
        self._session.remove(image)
        if image is self._selected:
            self._place.clear()
            self._selected = None
        self._show_list()
        if self._selected is None and self._session:
            await self.select(self._session[-1])
        elif self._selected is None:
            self._sources.open()
            with self._place:
                legend()

    def _show_list(self) -> None:
        if self._session:
            self._sources.close()
        self._list.show(self._session, current=self._selected)


@dataclass(slots=True)
class _Entry:
    element: ui.element
    button: ui.element
    outcome: ui.element


class ImageList:
    """The list of images; an entry stays as long as its image, so that no click or focus is lost."""

    def __init__(
        self, style: Callable[[ClassifiedImage], OutcomeStyle], *, select: ImageAction, remove: ImageAction
    ) -> None:
        self._style, self._select, self._remove = style, select, remove
        self._entries: dict[ClassifiedImage, _Entry] = {}
        self._element = ui.element("nav").classes("images").props("aria-label=Images")

    def show(self, images: Iterable[ClassifiedImage], *, current: ClassifiedImage | None) -> None:
        """Add new images, remove the others, and mark the displayed one."""
        wanted = list(images)
        for image in self._entries.keys() - wanted:
            self._entries.pop(image).element.delete()
        for image in wanted:
            if image not in self._entries:
                self._entries[image] = self._added(image)
            self._mark(image, self._entries[image], current=image is current)

    def _added(self, image: ClassifiedImage) -> _Entry:
        with self._element, ui.element("div").classes("image-entry") as element:
            button = ui.element("button").classes("image-button").props("type=button")
            button.on("click", lambda: self._select(image))
            with button:
                ui.label(image.source.name).classes("image-name")
                outcome = ui.element("span")
            remove = ui.button(icon="close", on_click=lambda: self._remove(image))
            remove.props("flat dense round size=sm").props["aria-label"] = f"Remove {image.source.name}"
        return _Entry(element, button, outcome)

    def _mark(self, image: ClassifiedImage, entry: _Entry, *, current: bool) -> None:
        entry.element.classes(**{"add" if current else "remove": "current"})
        entry.button.props(f"aria-current={str(current).lower()}")
        entry.outcome.clear()  # the visitor may have chosen another operating point
        with entry.outcome:
            outcome_label(self._style(image))
