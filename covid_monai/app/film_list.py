"""The films of a visitor by name and outcome: one is looked at, any can be forgotten."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from nicegui import ui

from covid_monai.app.badge import badge
from covid_monai.app.status import Look
from covid_monai.app.visit import Film

Act = Callable[[Film], Awaitable[None]]


@dataclass(slots=True)
class _Entry:
    element: ui.element
    button: ui.element
    outcome: ui.element


class FilmList:
    """A list whose entries stay while their films do: no redraw loses a click or the keyboard's focus.

    Args:
        look_of: How a film's outcome is shown.
        select: Called when a film is chosen.
        remove: Called when one is to be forgotten.
    """

    def __init__(self, look_of: Callable[[Film], Look], *, select: Act, remove: Act) -> None:
        self._look_of, self._select, self._remove = look_of, select, remove
        self._entries: dict[Film, _Entry] = {}
        self._element = ui.element("nav").classes("films").props("aria-label=Films")

    def show(self, films: Iterable[Film], *, current: Film | None) -> None:
        """Add the films that are new, take out those that are gone, and mark the one that is looked at."""
        wanted = list(films)
        for film in self._entries.keys() - wanted:
            self._entries.pop(film).element.delete()
        for film in wanted:
            if film not in self._entries:
                self._entries[film] = self._added(film)
            self._mark(film, self._entries[film], current=film is current)

    def _added(self, film: Film) -> _Entry:
        with self._element, ui.element("div").classes("film-entry") as element:
            button = ui.element("button").classes("film-button").props("type=button")
            button.on("click", lambda: self._select(film))
            with button:
                ui.label(film.upload.name).classes("film-name")
                outcome = ui.element("span")
            remove = ui.button(icon="close", on_click=lambda: self._remove(film))
            remove.props(f'flat dense round size=sm aria-label="Remove {_quoted(film.upload.name)}"')
        return _Entry(element, button, outcome)

    def _mark(self, film: Film, entry: _Entry, *, current: bool) -> None:
        entry.element.classes(**{"add" if current else "remove": "current"})
        entry.button.props(f"aria-current={str(current).lower()}")
        entry.outcome.clear()  # the operating point may be another one now
        with entry.outcome:
            badge(self._look_of(film))


def _quoted(name: str) -> str:
    return name.replace("\\", " ").replace('"', "'")
