"""The batch tab: many images in a table."""

from collections import Counter
from collections.abc import Sequence

from anyio import to_thread
from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.api.uploads import LimitExceeded, UploadError
from covid_monai.app.batch import Batch, Handed, OnServer, Source, classify
from covid_monai.app.desk import Desk
from covid_monai.app.dropzone import Dropped, Dropzone
from covid_monai.app.folder import folders_below, images_in
from covid_monai.app.pages.batch_table import BatchTable
from covid_monai.app.sources import show_rejected
from covid_monai.app.widgets import parts
from covid_monai.app.widgets.badge import badge
from covid_monai.app.widgets.image_dialog import ImageDialog
from covid_monai.app.widgets.status import look_of

_SECONDS_BETWEEN_LOOKS = 0.5


def build(desk: Desk) -> None:
    """Show the tab for one visitor."""
    BatchTab(desk)


class BatchTab:
    """One visitor's batch: images come in, are classified one after the other, and stand in a table.

    Args:
        desk: Whose first model is used.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._engine = desk.model.engine
        self._class_names = desk.model.bundle.class_names
        self._batch = Batch(0)
        self._batch.end()
        self._waiting: list[Source] = []
        self._bytes = 0
        self._problem = ""
        self._place_inputs()
        self._place_progress()
        with ui.element("div").classes("card"):
            self._table = BatchTable(self._class_names, self._open)
        self._details = ImageDialog(desk.model)
        self._timer = ui.timer(_SECONDS_BETWEEN_LOOKS, self._show, active=False)
        ui.context.client.on_delete(self._leave)
        self._show()

    def _place_inputs(self) -> None:
        zone = Dropzone(
            self._desk.limits,
            on_files=self._take,
            on_rejected=show_rejected,
            title=f"Drop up to {self._desk.limits.max_files} images, or a zip of them",
        )
        zone.on("done", self._start)
        if self._desk.folder is not None:
            with ui.row().classes("filters"):
                names = {name: name for name in folders_below(self._desk.folder)} | {".": "all of it"}
                choice = ui.select(names, value=".", label="Folder on the server")
                choice.props("outlined dense options-dense").classes("choice")
                start = parts.button("Classify the folder", "folder")
                start.on_click(lambda: self._start_folder(str(choice.value)))

    def _place_progress(self) -> None:
        with ui.element("div").classes("card") as self._progress_card:
            with ui.row().classes("filters"):
                self._words = ui.label().props("role=status").classes("number")
                self._cancel_button = parts.button("Cancel", "stop").on_click(self._cancel)
                self._csv_button = parts.button("CSV", "download").on_click(self._download_csv)
                self._pdf_button = parts.button("PDF", "picture_as_pdf").on_click(self._download_pdf)
            self._bar = ui.linear_progress(0, show_value=False).props("aria-label=Progress")
            self._counts = ui.row().classes("counts")

    def _take(self, dropped: Dropped) -> None:
        """Files arrive one request after the other; the batch starts when all are there."""
        if self._problem:
            return
        limits = self._desk.limits
        try:
            limits.check_count(len(self._waiting) + len(dropped.uploads))
            size = self._bytes + sum(len(upload.data) for upload in dropped.uploads)
            limits.check_total(size)
        except LimitExceeded as error:
            self._problem = f"{dropped.uploads[0].name} and what came after it are left out. {error}"
            return
        self._bytes = size
        self._waiting += [Handed(upload) for upload in dropped.uploads]

    async def _start(self) -> None:
        sources, self._waiting, self._bytes = self._waiting, [], 0
        problem, self._problem = self._problem, ""
        if problem or not sources:
            _warn(problem or "There is no image to classify.")
        if sources:
            await self._run(sources)

    async def _start_folder(self, name: str) -> None:
        folder = self._desk.folder
        assert folder is not None
        try:
            files = await to_thread.run_sync(images_in, folder, name, self._desk.limits)
        except UploadError as error:
            _warn(str(error))
            return
        limits = self._desk.limits
        await self._run([OnServer(file, str(file.relative_to(folder)), limits) for file in files])

    async def _run(self, sources: Sequence[Source]) -> None:
        if self._batch.running:
            _warn("A batch is under way: wait until it is done, or cancel it, and hand in the images again.")
            return
        batch = self._batch = Batch(len(sources))
        self._timer.activate()
        self._show()
        images = classify(self._engine, sources)
        try:
            while not batch.cancelled and (image := await to_thread.run_sync(next, images, None)):
                batch.images.append(image)
        except Busy as error:
            _warn(str(error))
        finally:
            await to_thread.run_sync(images.close)
            batch.end()

    def _cancel(self) -> None:
        self._batch.cancelled = True

    def _leave(self) -> None:
        """The visitor has gone: nothing more is classified, and what they handed in is freed."""
        self._cancel()
        self._waiting, self._batch = [], Batch(0)

    def _show(self) -> None:
        batch = self._batch
        if not batch.running:
            self._timer.deactivate()
        self._progress_card.set_visibility(batch.total > 0)
        self._words.set_text(progress_words(batch))
        self._bar.set_value(len(batch.images) / max(batch.total, 1))
        self._cancel_button.set_visibility(batch.running)
        self._csv_button.set_enabled(bool(batch.images))
        self._pdf_button.set_enabled(bool(batch.images))
        self._show_counts()
        self._table.show(batch.images)

    def _show_counts(self) -> None:
        looks = [look_of(image.prediction) for image in self._batch.images]
        self._counts.clear()
        with self._counts:
            for look, count in Counter(looks).most_common():
                badge(look._replace(words=f"{count} {look.words}"))

    async def _open(self, number: int) -> None:
        await self._details.open(self._batch.images[number])

    def _download_csv(self) -> None:
        ui.download.content(self._batch.to_csv(self._class_names), "covid-monai.csv", "text/csv")

    async def _download_pdf(self) -> None:
        self._pdf_button.props("loading")
        try:
            pdf = await to_thread.run_sync(self._batch.to_pdf, self._engine.classifier.model)
        finally:
            self._pdf_button.props(remove="loading")
        ui.download.content(pdf, "covid-monai.pdf", "application/pdf")


def _warn(words: str) -> None:
    ui.notify(words, type="warning", multi_line=True, close_button="Close", timeout=0)


def progress_words(batch: Batch) -> str:
    """How far a batch is, in one line."""
    done = f"{len(batch.images)} of {batch.total} images"
    if not batch.running:
        ended = "Cancelled: " if batch.cancelled and len(batch.images) < batch.total else ""
        return (
            f"{ended}{done} in {len(batch.images) / batch.images_per_second:.1f} s" if batch.images else done
        )
    if batch.seconds_left is None:
        return done
    return f"{done}, {batch.images_per_second:.1f} images/s, about {batch.seconds_left:.0f} s left"
