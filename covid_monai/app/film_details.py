"""One film of a batch, opened: the film, the heat map, the answer in words, and what to take away."""

from anyio import to_thread
from nicegui import ui

from covid_monai.app import parts
from covid_monai.app.batch import Film
from covid_monai.app.desk import Model
from covid_monai.app.downloads import download_card
from covid_monai.app.pictures import data_uri, jpeg
from covid_monai.app.status import label
from covid_monai.app.visit import Film as VisitedFilm
from covid_monai.results.picture import film_picture, overlay
from covid_monai.results.wording import shown_class
from covid_monai.service.engine import Busy
from covid_monai.vocabulary import UnreadableImage


class FilmDetails:
    """A dialog for one visitor, filled anew for each film.

    Args:
        model: Whose answers they are; makes the heat maps and the files.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        with ui.dialog() as self._dialog, ui.card().classes("details"):
            self._title = parts.dialog_head(self._dialog, "")
            self._body = ui.column().classes("details-body")

    async def open(self, film: Film) -> None:
        """Show a film; the heat map follows as soon as it is computed."""
        prediction = film.prediction
        self._title.set_text(prediction.file)
        self._body.clear()
        with self._body:
            parts.show_answer(prediction)
            if prediction.probabilities:
                rows = [[label(name), f"{value:.3f}"] for name, value in prediction.probabilities.items()]
                parts.table(["Class", "Probability"], rows)
            pictures = ui.row().classes("pictures")
        self._dialog.open()
        with pictures:
            if prediction.ok:
                await self._show_heatmap(film)
            elif film.thumbnail:
                parts.picture(data_uri(film.thumbnail), "Film as displayed, small")
        await self._offer_files(film)

    async def _offer_files(self, film: Film) -> None:
        with self._body:
            try:
                upload = await to_thread.run_sync(film.source.load)
            except (UnreadableImage, ValueError, OSError) as error:
                ui.label(str(error)).props("role=alert")
                return
            download_card(self._model, VisitedFilm(upload, film.prediction))

    async def _show_heatmap(self, film: Film) -> None:
        waiting = ui.spinner(size="3em")
        class_name = shown_class(film.prediction)
        try:
            explained = await to_thread.run_sync(self._model.engine.explain, film.source.load(), class_name)
            views = await to_thread.run_sync(
                lambda: [jpeg(film_picture(explained.film)), jpeg(overlay(explained))]
            )
        except (Busy, UnreadableImage, ValueError) as error:
            ui.label(str(error)).props("role=alert")
            return
        finally:
            waiting.delete()
        parts.picture(data_uri(views[0]), "Film as displayed")
        parts.picture(data_uri(views[1]), f"Heat map (Grad-CAM): evidence for {label(class_name)}")
