"""The images of a visitor by name and outcome: one is looked at, any can be forgotten."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from nicegui import ui

from covid_monai.app.visit import VisitedImage
from covid_monai.app.widgets.badge import badge
from covid_monai.app.widgets.status import Look

Act = Callable[[VisitedImage], Awaitable[None]]


@dataclass(slots=True)
class _Entry:
    element: ui.element
    button: ui.element
    outcome: ui.element


class ImageList:
    """A list whose entries stay while their images do: no redraw loses a click or the keyboard's focus.

    Args:
        look_of: How an image's outcome is shown.
        select: Called when an image is chosen.
        remove: Called when one is to be forgotten.
    """

    def __init__(self, look_of: Callable[[VisitedImage], Look], *, select: Act, remove: Act) -> None:
        self._look_of, self._select, self._remove = look_of, select, remove
        self._entries: dict[VisitedImage, _Entry] = {}
        self._element = ui.element("nav").classes("images").props("aria-label=Images")

    def show(self, images: Iterable[VisitedImage], *, current: VisitedImage | None) -> None:
        """Add the images that are new, take out those that are gone, and mark the one that is looked at."""
        wanted = list(images)
        for image in self._entries.keys() - wanted:
            self._entries.pop(image).element.delete()
        for image in wanted:
            if image not in self._entries:
                self._entries[image] = self._added(image)
            self._mark(image, self._entries[image], current=image is current)

    def _added(self, image: VisitedImage) -> _Entry:
        with self._element, ui.element("div").classes("image-entry") as element:
            button = ui.element("button").classes("image-button").props("type=button")
            button.on("click", lambda: self._select(image))
            with button:
                ui.label(image.upload.name).classes("image-name")
                outcome = ui.element("span")
            remove = ui.button(icon="close", on_click=lambda: self._remove(image))
            remove.props(f'flat dense round size=sm aria-label="Remove {_quoted(image.upload.name)}"')
        return _Entry(element, button, outcome)

    def _mark(self, image: VisitedImage, entry: _Entry, *, current: bool) -> None:
        entry.element.classes(**{"add" if current else "remove": "current"})
        entry.button.props(f"aria-current={str(current).lower()}")
        entry.outcome.clear()  # the operating point may be another one now
        with entry.outcome:
            badge(self._look_of(image))


def _quoted(name: str) -> str:
    return name.replace("\\", " ").replace('"', "'")
