"""The batch tab: many images are classified one after the other, listed in a table, opened in a dialog."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from anyio import to_thread
from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.api.uploads import LimitExceeded, Upload, UploadError
from covid_monai.app.batch import Batch, classify
from covid_monai.app.session import AppContext, ClassifiedImage, ServedModel, explain
from covid_monai.app.sources import ImageSource, images_in
from covid_monai.app.widgets import elements
from covid_monai.app.widgets.dropzone import Dropzone, FilesDropped
from covid_monai.app.widgets.elements import Download, button, download_button, folder_choice, wait_for, warn
from covid_monai.app.widgets.result import (
    download_card,
    outcome_label,
    outcome_style,
    reason_text,
    show_result,
)
from covid_monai.core.number_format import format_count, format_probability
from covid_monai.inference.wording import class_label, explained_class
from covid_monai.results.rendering import render_image, render_overlay

_REFRESH_SECONDS = 0.5
ANY = "Any"

# Vue templates, named as the slot that they fill; they display values as text, never as markup. Quasar sorts
# by mouse click only: the header adds the keyboard, and Quasar's CSS class says by which column it sorts.
_SLOTS = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).parents[1] / "static").glob("*-cell*.html"))
}
# The format of `covid_monai.core.number_format.format_probability`, in the browser.
_PROBABILITY_FORMAT = """value => value == null ? '' : value <= 0.0005 ? '< 0.1 %'
    : value >= 0.9995 ? '> 99.9 %' : (100 * value).toFixed(1) + ' %'"""


class BatchTab:
    """The tab of one visitor."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._engine = context.model.engine
        self._class_names = context.model.bundle.class_names
        self._batch = Batch(0)
        self._batch.end()
        self._waiting: list[Upload] = []
        self._problem = ""
        self._place_sources()
        self._place_progress()
        with ui.element("div").classes("card"):
            self._table = BatchTable(
                self._class_names, lambda number: dialog.open(self._batch.images[number])
            )
        dialog = ImageDialog(context.model)
        self._timer = ui.timer(_REFRESH_SECONDS, self._show, active=False)
        ui.context.client.on_delete(self._leave)
        self._show()

    def _place_sources(self) -> None:
        limits, budget = self._context.limits, self._context.budget
        title = f"Drop up to {limits.max_files} images, or a zip of images"
        zone = Dropzone(limits, budget, on_files=self._take, title=title)
        zone.on("done", self._start)
        if self._context.folder is not None:
            with ui.row().classes("filters"):
                choice = folder_choice(self._context.folder, label="Folder on the server")
                choice.props("outlined dense options-dense").classes("choice")
                start = button("Classify the folder", "folder")
                start.on_click(lambda: self._start_folder(str(choice.value)))

    def _place_progress(self) -> None:
        with ui.element("div").classes("card") as self._progress_card:
            with ui.row().classes("filters"):
                self._words = ui.label().props("role=status").classes("number")
                self._cancel_button = button("Cancel", "stop").on_click(self._cancel)
                self._csv_button = download_button("CSV", "download", self._csv)
                self._pdf_button = download_button("PDF", "picture_as_pdf", self._pdf)
            self._bar = ui.linear_progress(0, show_value=False).props("aria-label=Progress")
            self._counts = ui.row().classes("counts")

    def _take(self, dropped: FilesDropped) -> None:
        """Collect files, which arrive one request after the other; the batch starts when all are there."""
        if self._problem:
            return
        limits = self._context.limits
        try:
            limits.check_count(len(self._waiting) + len(dropped.uploads))
            limits.check_total(sum(len(upload.data) for upload in [*self._waiting, *dropped.uploads]))
        except LimitExceeded as error:
            self._problem = f"{dropped.uploads[0].name} and the files after it are left out. {error}"
            return
        self._waiting += dropped.uploads

    async def _start(self) -> None:
        sources, self._waiting = self._waiting, []
        problem, self._problem = self._problem, ""
        if problem or not sources:
            warn(problem or "No image was received, so there is nothing to classify.")
        if sources:
            await self._run(sources)

    async def _start_folder(self, name: str) -> None:
        folder = self._context.folder
        assert folder is not None
        try:
            files = await to_thread.run_sync(
                images_in, folder, name, self._context.limits, self._context.budget
            )
        except UploadError as error:
            warn(str(error))
            return
        await self._run(files)

    async def _run(self, sources: Sequence[ImageSource]) -> None:
        if self._batch.running:
            warn("A batch is running. Wait until it is done, or cancel it. Then add the images again.")
            return
        batch = self._batch = Batch(len(sources))
        self._timer.activate()
        self._show()
        images = classify(self._engine, sources)
        try:
            while not batch.cancelled and (image := await to_thread.run_sync(next, images, None)):
                batch.images.append(image)
        except Busy as error:
            warn(str(error))
        finally:
            await to_thread.run_sync(images.close)
            batch.end()

    def _cancel(self) -> None:
        self._batch.cancelled = True

    def _leave(self) -> None:
        """Stop, and free the images, when the visitor has left."""
        self._cancel()
        self._waiting, self._batch = [], Batch(0)

    def _show(self) -> None:
        batch = self._batch
        if not batch.running:
            self._timer.deactivate()
        self._progress_card.set_visibility(batch.total > 0)
        self._words.set_text(progress_text(batch))
        self._bar.set_value(len(batch.images) / max(batch.total, 1))
        self._cancel_button.set_visibility(batch.running)
        self._csv_button.set_enabled(bool(batch.images))
        self._pdf_button.set_enabled(bool(batch.images))
        self._table.show(batch.images)
        styles = Counter(outcome_style(image.prediction) for image in batch.images)
        self._counts.clear()
        with self._counts:
            for style, count in styles.most_common():
                outcome_label(style._replace(words=f"{count} {style.words}"))

    def _csv(self) -> Download:
        return self._batch.to_csv(self._class_names), "covid-monai.csv", "text/csv"

    def _pdf(self) -> Download:
        return self._batch.to_pdf(self._engine.classifier.model), "covid-monai.pdf", "application/pdf"


def progress_text(batch: Batch) -> str:
    """Return the progress of a batch in one line.

    >>> progress_text(Batch(1))
    '0 of 1 image'
    """
    done = f"{len(batch.images)} of {format_count(batch.total, 'image')}"
    if not batch.running:
        ended = "Cancelled: " if batch.cancelled and len(batch.images) < batch.total else ""
        took = f" in {len(batch.images) / batch.images_per_second:.1f} s" if batch.images else ""
        return f"{ended}{done}{took}"
    if batch.seconds_left is None:
        return done
    return f"{done}, {batch.images_per_second:.1f} images/s, about {batch.seconds_left:.0f} s left"


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
        for name, template in _SLOTS.items():
            self._table.add_slot(name, template)

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
            show_result(prediction)
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
        class_name = explained_class(image.prediction)

        def make_views() -> list[str]:
            explained = explain(self._model, image.source, class_name)
            views = render_image(explained.image), render_overlay(explained)
            return [elements.data_uri(view) for view in views]

        try:
            image_view, heat_view = await wait_for(make_views)
        except (Busy, ValueError, OSError) as error:
            _show_error("The heat map cannot be drawn.", error)
            return
        elements.picture(image_view, "Image as displayed")
        elements.picture(heat_view, f"Heat map (Grad-CAM): evidence for {class_label(class_name)}")


def _show_error(words: str, error: Exception) -> None:
    """Show what failed; the reason of the operating system names no path."""
    reason = error.strerror if isinstance(error, OSError) else str(error)
    ui.label(f"{words} {reason}").props("role=alert")
