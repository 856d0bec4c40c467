"""The image tab: images come in, one at a time is looked at."""

import asyncio

from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.api.uploads import LimitExceeded, Upload
from covid_monai.app.desk import Desk
from covid_monai.app.pages.decision_card import Settings
from covid_monai.app.pages.image_list import ImageList
from covid_monai.app.pages.image_result import ImageResult, announcement
from covid_monai.app.sources import build_sources
from covid_monai.app.visit import Visit, VisitedImage
from covid_monai.app.widgets.badge import legend
from covid_monai.app.widgets.figures import read_figures
from covid_monai.app.widgets.operating_points import choices


def build(desk: Desk) -> None:
    """Show the tab for one visitor."""
    _ImageTab(desk)


class _ImageTab:
    def __init__(self, desk: Desk) -> None:
        classifier = desk.model.engine.classifier
        self._visit = Visit(desk.model, desk.limits)
        self._settings = Settings(choices(classifier.operating_point, classifier.class_names))
        figures, about = read_figures(desk.model.bundle)
        self._detail = ImageResult(self._visit, self._settings, figures, about, on_change=self._show_list)
        self._selected: VisitedImage | None = None
        self._one_at_a_time = asyncio.Lock()
        self._sources = build_sources(desk, self.add)
        self._live = ui.label().classes("sr-only").props("role=status aria-live=polite")
        self._working = ui.spinner(size="lg").props("aria-label=Working").classes("working")
        self._working.visible = False
        self._list = ImageList(self._detail.look, select=self.select, remove=self.remove)
        self._place = ui.element("div").classes("place")
        with self._place:
            legend()
        ui.context.client.on_delete(self._visit.clear)

    async def add(self, uploads: list[Upload], show: bool) -> None:
        """Classify images, in the order in which they came.

        Args:
            uploads: The images.
            show: Whether to look at the first of them, also if another is looked at.
        """
        images: list[VisitedImage] = []
        async with self._one_at_a_time:
            self._working.visible = True
            try:
                for upload in uploads:
                    images.append(await self._add(upload))
            except (Busy, LimitExceeded) as error:
                ui.notify(str(error), type="warning", close_button="Close", timeout=0)
            finally:
                self._working.visible = False
        if images and (show or self._selected is None):
            await self.select(images[0])

    async def _add(self, upload: Upload) -> VisitedImage:
        self._live.text = f"Reading {upload.name}"
        image = await self._visit.add(upload)
        self._live.text = announcement(image, self._detail.look(image))
        self._show_list()
        return image

    async def select(self, image: VisitedImage) -> None:
        """Look at another image."""
        self._selected = image
        self._show_list()
        self._place.clear()
        with self._place:
            await self._detail.show(image)

    async def remove(self, image: VisitedImage) -> None:
        """Forget an image; its bytes are freed."""
        self._visit.remove(image)
        if image is self._selected:
            self._place.clear()
            self._selected = None
        self._show_list()
        if self._selected is None and len(self._visit):
            await self.select(list(self._visit)[-1])
        elif self._selected is None:
            self._sources.open()
            with self._place:
                legend()

    def _show_list(self) -> None:
        if len(self._visit):
            self._sources.close()
        self._list.show(self._visit, current=self._selected)
