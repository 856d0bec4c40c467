"""Small parts that every tab uses: an outcome with icon, words and colour; the title of a card."""

from nicegui import ui

from covid_monai.app.widgets.status import LEGEND, Look


def heading(words: str) -> None:
    """Title of a card."""
    with ui.element("h3"):
        ui.label(words)


def badge(look: Look, *, large: bool = False) -> ui.element:
    """Show an outcome."""
    with ui.element("span").classes(f"outcome outcome-{look.kind}" + " outcome-large" * large) as element:
        ui.icon(look.icon).props("aria-hidden=true")
        ui.label(look.words)
    return element


def legend() -> None:
    """All outcomes that there are, with what they mean."""
    with ui.element("section").classes("card legend").props("aria-label='What the answers mean'"):
        heading("What the answers mean")
        for look in LEGEND:
            with ui.element("div").classes("legend-row"):
                badge(look)
                ui.label(look.meaning)
