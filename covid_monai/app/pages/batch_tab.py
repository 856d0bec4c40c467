"""The batch tab: many images are classified one after the other, and listed in a table."""

from collections import Counter
from collections.abc import Sequence

from anyio import to_thread
from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.api.uploads import LimitExceeded, Upload, UploadError
from covid_monai.app.batch import Batch, classify
from covid_monai.app.pages.batch_table import BatchTable, ImageDialog
from covid_monai.app.session import AppContext
from covid_monai.app.sources import ImageSource, folders_below, images_in
from covid_monai.app.widgets.dropzone import Dropzone, FilesDropped
from covid_monai.app.widgets.elements import button, warn
from covid_monai.app.widgets.outcome import outcome_label, outcome_style
from covid_monai.core.number_format import format_count

_REFRESH_SECONDS = 0.5


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
                names = {name: name for name in folders_below(self._context.folder)} | {".": "all folders"}
                choice = ui.select(names, value=".", label="Folder on the server")
                choice.props("outlined dense options-dense").classes("choice")
                start = button("Classify the folder", "folder")
                start.on_click(lambda: self._start_folder(str(choice.value)))

    def _place_progress(self) -> None:
        with ui.element("div").classes("card") as self._progress_card:
            with ui.row().classes("filters"):
                self._words = ui.label().props("role=status").classes("number")
                self._cancel_button = button("Cancel", "stop").on_click(self._cancel)
                self._csv_button = button("CSV", "download").on_click(self._download_csv)
                self._pdf_button = button("PDF", "picture_as_pdf").on_click(self._download_pdf)
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
            files = await to_thread.run_sync(images_in, folder, name, self._context.limits)
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
        images = classify(self._engine, sources, self._context.budget)
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

    def _download_csv(self) -> None:
        ui.download.content(self._batch.to_csv(self._class_names), "covid-monai.csv", "text/csv")

    async def _download_pdf(self) -> None:
        self._pdf_button.props("loading")
        try:
            pdf = await to_thread.run_sync(self._batch.to_pdf, self._engine.classifier.model)
        finally:
            self._pdf_button.props(remove="loading")
        ui.download.content(pdf, "covid-monai.pdf", "application/pdf")


def progress_text(batch: Batch) -> str:
    """Return the progress of a batch in one line.

    >>> progress_text(Batch(1))
    '0 of 1 image'
    """
    done = f"{len(batch.images)} of {format_count(batch.total, 'image')}"
    if not batch.running:
        ended = "Cancelled: " if batch.cancelled and len(batch.images) < batch.total else ""
        if not batch.images:
            return f"{ended}{done}"
        return f"{ended}{done} in {len(batch.images) / batch.images_per_second:.1f} s"
    if batch.seconds_left is None:
        return done
    return f"{done}, {batch.images_per_second:.1f} images/s, about {batch.seconds_left:.0f} s left"
