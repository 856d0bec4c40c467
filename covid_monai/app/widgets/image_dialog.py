"""One image of a batch, opened: the image, the heat map, the answer in words, and what to take away."""

from anyio import to_thread
from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.app.batch import BatchImage
from covid_monai.app.desk import Model
from covid_monai.app.pictures import data_uri, jpeg
from covid_monai.app.visit import VisitedImage
from covid_monai.app.widgets import parts
from covid_monai.app.widgets.downloads import download_card
from covid_monai.app.widgets.status import label
from covid_monai.core.number_format import format_probability
from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.results.rendering import render_image, render_overlay
from covid_monai.results.wording import explained_class


class ImageDialog:
    """A dialog for one visitor, filled anew for each image.

    Args:
        model: Whose answers they are; makes the heat maps and the files.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        with ui.dialog() as self._dialog, ui.card().classes("details"):
            self._title = parts.dialog_head(self._dialog, "")
            self._body = ui.column().classes("details-body")

    async def open(self, image: BatchImage) -> None:
        """Show an image; the heat map follows as soon as it is computed."""
        prediction = image.prediction
        self._title.set_text(prediction.file)
        self._body.clear()
        with self._body:
            parts.show_answer(prediction)
            if prediction.probabilities:
                rows = [
                    [label(name), format_probability(value)]
                    for name, value in prediction.probabilities.items()
                ]
                parts.table(["Class", "Probability"], rows)
            pictures = ui.row().classes("pictures")
        self._dialog.open()
        with pictures:
            if prediction.ok:
                await self._show_heatmap(image)
            elif image.thumbnail:
                parts.picture(data_uri(image.thumbnail), "Image as displayed, small")
        await self._offer_files(image)

    async def _offer_files(self, image: BatchImage) -> None:
        with self._body:
            try:
                upload = await to_thread.run_sync(image.source.load)
            except (UnreadableImage, ValueError, OSError) as error:
                ui.label(str(error)).props("role=alert")
                return
            download_card(self._model, VisitedImage(upload, image.prediction))

    async def _show_heatmap(self, image: BatchImage) -> None:
        waiting = ui.spinner(size="3em")
        class_name = explained_class(image.prediction)
        try:
            explained = await to_thread.run_sync(self._model.engine.explain, image.source.load(), class_name)
            views = await to_thread.run_sync(
                lambda: [jpeg(render_image(explained.image)), jpeg(render_overlay(explained))]
            )
        except (Busy, UnreadableImage, ValueError) as error:
            ui.label(str(error)).props("role=alert")
            return
        finally:
            waiting.delete()
        parts.picture(data_uri(views[0]), "Image as displayed")
        parts.picture(data_uri(views[1]), f"Heat map (Grad-CAM): evidence for {label(class_name)}")
