"""Page elements that several tabs use: headings, cards, buttons, messages, tables, pictures, ROC curves."""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from anyio import to_thread
from jinja2 import Environment, FileSystemLoader
from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from covid_monai.api.engine import Busy
from covid_monai.app.evaluation import Figure
from covid_monai.app.sources import folders_below
from covid_monai.core.number_format import format_probability
from covid_monai.core.vocabulary import RESEARCH_USE, UnreadableImage
from covid_monai.inference.wording import class_label
from covid_monai.results.dicom.source_radiograph import NoResultObjects
from covid_monai.results.rendering import RgbImage, encode_jpeg

Result = TypeVar("Result")
Download = tuple[bytes, str, str]  # content, file name, media type
_STATIC = FileSystemLoader(Path(__file__).parents[1] / "static")
_TEMPLATES = Environment(loader=_STATIC, autoescape=True, trim_blocks=True, lstrip_blocks=True)
_TEMPLATES.filters |= {"class_label": class_label, "probability": format_probability}


def show_template(file: str, /, **values: Any) -> None:
    """Show a template of the folder static; markup in a value is escaped."""
    ui.html(_TEMPLATES.get_template(file).render(values), sanitize=False)


def roc_svg(curve: list[tuple[float, float]], point: tuple[Figure, Figure] | None, *, title: str) -> str:
    """Draw a ROC curve with the operating point (sensitivity, specificity) on it, as SVG.

    An empty curve draws the point alone. The title is for visitors who do not see the curve.
    """
    return _TEMPLATES.get_template("roc.svg.j2").render(curve=curve, point=point, title=title)


def roc_figure(
    curve: list[tuple[float, float]], point: tuple[Figure, Figure], *, title: str, caption: str
) -> None:
    """Show a ROC curve with a caption below it; see `roc_svg`."""
    with ui.element("figure").classes("roc-box"):
        ui.html(roc_svg(curve, point, title=title), sanitize=False)
        text("figcaption", caption).classes("dim small")


def text(tag: str, words: str) -> TextElement:
    """Show words in an element of this tag."""
    return TextElement(tag=tag, text=words)


def card(title: str, classes: str = "") -> ui.element:
    """Show a card with a title, which screen readers read as its name; the caller fills it."""
    section = ui.element("section").classes(f"card {classes}")
    section.props["aria-label"] = title
    with section:
        text("h3", title)
    return section


def button(words: str, icon: str) -> ui.button:
    """Show a button with words and icon; the caller adds what it does."""
    return ui.button(words, icon=icon).props("no-caps outline")


def warn(message: str) -> None:
    """Show a message until the visitor closes it."""
    ui.notify(message, type="warning", multi_line=True, close_button="Close", timeout=0)


def folder_choice(root: Path, *, label: str) -> ui.select:
    """Let the visitor choose a folder below `root`; the list follows, because a disk may be slow."""
    shown = {".": "all folders"}

    async def fill() -> None:
        names = await to_thread.run_sync(folders_below, root)
        select.set_options({name: name for name in names} | shown, value=select.value)

    select = ui.select(shown, value=".", label=label)
    ui.timer(0, fill, once=True)
    return select


def dialog_head(dialog: ui.dialog, title: str) -> TextElement:
    """Show the title of a dialog, a button that closes it, and the notice that the dialog hides."""
    with ui.row().classes("details-head"):
        words = text("h3", title).classes("file-name")
        ui.button(icon="close", on_click=dialog.close).props("flat round aria-label=Close")
    ui.label(RESEARCH_USE).classes("small dim")
    return words


async def wait_for(function: Callable[..., Result], *arguments: Any) -> Result:
    """Show a spinner while a function runs in a thread; return its result."""
    waiting = ui.spinner(size="3em").props("aria-label=Working")
    try:
        return await to_thread.run_sync(function, *arguments)
    finally:
        waiting.delete()


def download_button(words: str, icon: str, make: Callable[[], Download]) -> ui.button:
    """Show a button that makes a file in a thread, and gives it to the visitor."""

    async def save() -> None:
        shown.props("loading")
        try:
            ui.download.content(*await to_thread.run_sync(make))
        except (Busy, NoResultObjects, UnreadableImage) as error:
            warn(str(error))
        finally:
            shown.props(remove="loading")

    shown = button(words, icon).on_click(save)
    return shown


def picture(source: str, caption: str) -> None:
    """Show a picture with a caption below it."""
    with ui.element("figure").classes("picture"):
        image = ui.element("img")
        image.props["src"], image.props["alt"] = source, caption
        text("figcaption", caption).classes("dim small")


def data_uri(data: bytes | RgbImage) -> str:
    """Return a JPEG file, or pixels as JPEG, as the source of a picture: the browser fetches nothing."""
    file = data if isinstance(data, bytes) else encode_jpeg(data)
    return f"data:image/jpeg;base64,{base64.b64encode(file).decode('ascii')}"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Show a table, which scrolls where it is too wide; the first column names the row."""
    show_template("table.html.j2", titles=titles, rows=rows)
