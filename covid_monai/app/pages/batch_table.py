"""The table of a batch, and the dialog that displays one of its images."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from anyio import to_thread
from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.app.session import ClassifiedImage, ServedModel, explain
from covid_monai.app.widgets import elements
from covid_monai.app.widgets.downloads import download_card
from covid_monai.app.widgets.outcome import outcome_style, reason_text
from covid_monai.core.number_format import format_probability
from covid_monai.results.rendering import render_image, render_overlay
from covid_monai.results.wording import class_label, explained_class

ANY = "Any"

# Vue templates, named as the slot that they fill; they display values as text, never as markup. Quasar sorts
# by mouse click only: the header adds the keyboard, and Quasar's CSS class says by which column it sorts.
_SLOTS = sorted((Path(__file__).parents[1] / "static").glob("*-cell*.html"))
# The format of `covid_monai.core.number_format.format_probability`, in the browser.
_PROBABILITY_FORMAT = """value => value == null ? '' : value <= 0.0005 ? '< 0.1 %'
    : value >= 0.9995 ? '> 99.9 %' : (100 * value).toFixed(1) + ' %'"""


class BatchTable:
    """Table with one row per image, sorted in the browser, filtered by text and select boxes."""

    def __init__(self, class_names: Sequence[str], on_open: Callable[[int], Awaitable[None]]) -> None:
        self._rows: list[dict[str, Any]] = []
        with ui.row().classes("filters"):
            text = ui.input("Search").props("outlined dense clearable type=search")
            self._outcome = _choice("Decision", self._filter)
            self._status = _choice("Status", self._filter)
        self._table = ui.table(
            rows=[],
            columns=_columns(class_names),
            row_key="number",
            pagination={"rowsPerPage": 25},
        ).bind_filter_from(text, "value", backward=lambda value: value or "")
        self._table.props(
            "flat :rows-per-page-options=[10,25,50,0] no-results-label='No image matches the filter'"
        )
        self._table.props("no-data-label='No images yet' binary-state-sort").classes("batch-table")
        for path in _SLOTS:
            self._table.add_slot(path.stem, path.read_text(encoding="utf-8"))

        self._table.on("open", lambda event: on_open(int(event.args)))

    def show(self, images: Sequence[ClassifiedImage]) -> None:
        """Show images; the filters of the visitor stay."""
        self._rows = [row_of(number, image) for number, image in enumerate(images)]
        for choice, key in ((self._outcome, "outcome"), (self._status, "status")):
            found = sorted({row[key] for row in self._rows})
            choice.set_options([ANY, *found], value=choice.value if choice.value in found else ANY)
        self._filter()

    def _filter(self) -> None:
        wanted = {"outcome": self._outcome.value, "status": self._status.value}
        self._table.rows = [
            row for row in self._rows if all(value in (ANY, row[key]) for key, value in wanted.items())
        ]


def row_of(number: int, image: ClassifiedImage) -> dict[str, Any]:
    """Return the table row of an image."""
    prediction = image.prediction
    style = outcome_style(prediction)
    return {
        "number": number,
        "thumbnail": image.thumbnail and elements.data_uri(image.thumbnail),
        "file": prediction.file,
        "outcome": style.words,
        "kind": style.kind,
        "icon": style.icon,
        "status": str(prediction.status),
        "class_name": class_label(prediction.predicted_class) if prediction.predicted_class else "",
        "reason": reason_text(prediction),
    } | {f"p_{name}": value for name, value in (prediction.probabilities or {}).items()}


def _columns(class_names: Sequence[str]) -> list[dict[str, Any]]:
    def column(name: str, title: str, field: str | None = None, **more: Any) -> dict[str, Any]:
        text = {"name": name, "label": title, "field": field or name, "align": "left", "sortable": True}
        return text | more

    probability = {"align": "right", ":format": _PROBABILITY_FORMAT}
    return [
        column("image", "Image", "number"),
        column("file", "File"),
        column("outcome", "Decision"),
        *(column(f"p_{name}", class_label(name), **probability) for name in class_names),
        column("class_name", "Most probable"),
        column("status", "Status"),
        column("reason", "Reason"),
    ]


def _choice(title: str, on_change: Callable[[], None]) -> ui.select:
    choice = ui.select([ANY], value=ANY, label=title, on_change=lambda: on_change())
    return choice.props("outlined dense options-dense").classes("choice")


class ImageDialog:
    """Dialog of one visitor that displays an image of the batch: heat map, result, downloads."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        with ui.dialog() as self._dialog, ui.card().classes("details"):
            self._title = elements.dialog_head(self._dialog, "")
            self._body = ui.column().classes("details-body")

    async def open(self, image: ClassifiedImage) -> None:
        """Display an image; the heat map follows as soon as it is computed."""
        prediction = image.prediction
        self._title.set_text(prediction.file)
        self._body.clear()
        with self._body:
            elements.show_result(prediction)
            if prediction.probabilities:
                probabilities = prediction.probabilities.items()
                rows = [[class_label(name), format_probability(value)] for name, value in probabilities]
                elements.table(["Class", "Probability"], rows)
            pictures = ui.row().classes("pictures")
        self._dialog.open()
        with pictures:
            if prediction.ok:
                await self._show_heatmap(image)
            elif image.thumbnail:
                elements.picture(elements.data_uri(image.thumbnail), "Image as displayed, small")
        with self._body:
            try:
                upload = await to_thread.run_sync(image.source.load)
            except (ValueError, OSError) as error:
                _show_error("The file cannot be read, so it has no downloads.", error)
                return
            download_card(self._model, upload, prediction)

    async def _show_heatmap(self, image: ClassifiedImage) -> None:
        waiting = ui.spinner(size="3em")
        class_name = explained_class(image.prediction)

        def make_views() -> list[str]:
            explained = explain(self._model, image.source, class_name)
            views = render_image(explained.image), render_overlay(explained)
            return [elements.data_uri(view) for view in views]

        try:
            views = await to_thread.run_sync(make_views)
        except (Busy, ValueError, OSError) as error:
            _show_error("The heat map cannot be drawn.", error)
            return
        finally:
            waiting.delete()
        elements.picture(views[0], "Image as displayed")
        elements.picture(views[1], f"Heat map (Grad-CAM): evidence for {class_label(class_name)}")


def _show_error(words: str, error: Exception) -> None:
    """Show what failed; the reason of the operating system names no path."""
    reason = error.strerror if isinstance(error, OSError) else str(error)
    ui.label(f"{words} {reason}").props("role=alert")
