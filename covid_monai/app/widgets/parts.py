"""Pieces of a page that several tabs show in the same way."""

from collections.abc import Mapping, Sequence

from nicegui import ui

from covid_monai.app.widgets.badge import badge
from covid_monai.app.widgets.status import label, look_of
from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.inference.prediction import Prediction


def button(words: str, icon: str) -> ui.button:
    """A button with words and icon; what it does is up to the caller."""
    return ui.button(words, icon=icon).props("no-caps outline")


def dialog_head(dialog: ui.dialog, title: str) -> ui.label:
    """Title of a dialog and the cross that closes it; what hides the page's banner says itself what it says.

    Returns:
        The title, whose words may change.
    """
    with ui.row().classes("details-head"):
        with ui.element("h3"):
            words = ui.label(title).classes("file-name")
        ui.button(icon="close", on_click=dialog.close).props("flat round aria-label=Close")
    ui.label(RESEARCH_USE).classes("small dim")
    return words


def show_answer(prediction: Prediction) -> None:
    """What a prediction says: outcome, its meaning, and the reason where there is one."""
    look = look_of(prediction)
    badge(look)
    ui.label(look.meaning)
    if reason := reason_of(prediction):
        ui.label(reason)
    if prediction.prediction_set is not None:
        possible = ", ".join(map(label, prediction.prediction_set)) or "no class fits"
        ui.label(f"Cannot be excluded: {possible}.")


def reason_of(prediction: Prediction) -> str:
    """Why an image was refused, could not be read or is uncertain, without its name; else an empty text."""
    if prediction.ok:
        return str((prediction.decision or {}).get("reason") or "")
    return str(prediction.detail).removeprefix(f"{prediction.file}: ")


def picture(source: str, caption: str) -> None:
    """A picture with what it shows below it.

    Args:
        source: A data URI.
        caption: Read out in the picture's place too.
    """
    with ui.element("figure").classes("picture"):
        image = ui.element("img")
        image.props["src"], image.props["alt"] = source, caption
        with ui.element("figcaption").classes("dim small"):
            ui.label(caption)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of words and numbers; the first column names the row, and it scrolls where it is too wide."""
    with ui.element("div").classes("scrolls"), ui.element("table").classes("plain"):
        with ui.element("thead"), ui.element("tr"):
            for title in titles:
                _cell("th", title).props("scope=col")
        with ui.element("tbody"):
            for name, *values in rows:
                with ui.element("tr"):
                    _cell("th", name).props("scope=row")
                    for value in values:
                        _cell("td", value)


def facts(values: Mapping[str, str]) -> None:
    """Names and values, one below the other."""
    with ui.element("dl").classes("facts"):
        for name, value in values.items():
            _cell("dt", name)
            _cell("dd", value)


def _cell(tag: str, words: str) -> ui.element:
    cell = ui.element(tag)
    with cell:
        ui.label(words)
    return cell
