"""The compare tab: two bundles on the same image."""

import asyncio

from anyio import to_thread
from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.api.uploads import Upload
from covid_monai.app.comparison import agreement, difference_picture, probability_rows, shared_classes
from covid_monai.app.desk import Desk, Model
from covid_monai.app.dropzone import Dropped, Dropzone
from covid_monai.app.pictures import data_uri, jpeg
from covid_monai.app.sources import show_rejected
from covid_monai.app.widgets import parts
from covid_monai.app.widgets.badge import heading
from covid_monai.app.widgets.status import label
from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.inference.prediction import Prediction
from covid_monai.results.rendering import render_overlay
from covid_monai.results.wording import explained_class

_PLACES = "First", "Second"


def build(desk: Desk) -> None:
    """Show the tab for one visitor."""
    if len(desk.models) < 2:
        with ui.element("div").classes("card"):
            heading("One model only")
            ui.label(
                f"This page was started with one bundle, {desk.model.name}. To see two on the same image:"
            )
            ui.label("covid-monai app --bundle FIRST --compare SECOND").classes("code")
        return
    first, second = list(desk.models.values())[:2]
    CompareTab(desk, first, second)


class CompareTab:
    """One visitor's image, as two models see it.

    Args:
        desk: Whose limits hold.
        first: One model.
        second: The other.
    """

    def __init__(self, desk: Desk, first: Model, second: Model) -> None:
        self._models = first, second
        self._upload: Upload | None = None
        zone = Dropzone(
            desk.limits,
            on_files=self._take,
            on_rejected=show_rejected,
            title="Drop the image that both models shall see",
            multiple=False,
        )
        zone.on("done", self._compare)
        self._body = ui.column().classes("compare-body")

    def _take(self, dropped: Dropped) -> None:
        self._upload = dropped.uploads[0] if dropped.uploads else None
        if len(dropped.uploads) != 1:
            ui.notify("The archive does not hold one image: the first is taken.", type="warning")

    async def _compare(self) -> None:
        if self._upload is None:
            return
        upload, self._upload = self._upload, None
        self._body.clear()
        with self._body:
            waiting = ui.spinner(size="3em")
            try:
                first, second = await asyncio.gather(*(_predict(model, upload) for model in self._models))
            except Busy as error:
                ui.notify(str(error), type="warning")
                return
            finally:
                waiting.delete()
            self._show(upload, first, second)

    def _show(self, upload: Upload, first: Prediction, second: Prediction) -> None:
        with ui.element("div").classes("card"):
            heading(upload.name)
            ui.label(agreement(first, second)).props("role=status").classes("agreement")
        with ui.element("div").classes("side-by-side"):
            for place, model, prediction in zip(_PLACES, self._models, (first, second), strict=True):
                with ui.element("div").classes("card stack"):
                    heading(f"{place}: {model.name}")
                    parts.show_answer(prediction)
        if not (first.ok or second.ok):
            return
        with ui.element("div").classes("card"):
            heading("Probabilities")
            parts.table(["Class", *_PLACES, "Difference"], _rows(first, second))
        if classes := shared_classes(first, second):
            _HeatMaps(self._models, upload, classes, explained_class(first))


class _HeatMaps:
    """Both models' evidence for one class, and where they differ."""

    def __init__(
        self, models: tuple[Model, Model], upload: Upload, classes: list[str], class_name: str
    ) -> None:
        self._models, self._upload = models, upload
        with ui.element("div").classes("card stack"):
            heading("Where each model looks")
            names = {name: label(name) for name in classes}
            with ui.row().classes("filters"):
                shown = class_name if class_name in names else classes[0]
                self._choice = ui.select(names, value=shown, label="Evidence for", on_change=self._draw)
                self._choice.props("outlined dense").classes("choice")
            self._pictures = ui.row().classes("pictures")
        ui.timer(0, self._draw, once=True)

    async def _draw(self) -> None:
        class_name = self._choice.value
        self._pictures.clear()
        with self._pictures:
            waiting = ui.spinner(size="3em")
            try:
                views = await to_thread.run_sync(self._views, class_name)
            except (Busy, UnreadableImage, ValueError) as error:
                ui.label(str(error)).props("role=alert")
                return
            finally:
                waiting.delete()
            if class_name != self._choice.value:
                return  # another class was chosen meanwhile, and is being drawn
            *both, difference = views
            for place, view in zip(_PLACES, both, strict=True):
                parts.picture(view, f"{place}: evidence for {label(class_name)}")
            parts.picture(
                difference, "Difference: orange where the first is hotter, blue where the second is"
            )

    def _views(self, class_name: str) -> list[str]:
        explained = [model.engine.explain(self._upload, class_name) for model in self._models]
        views = [render_overlay(explained[0]), render_overlay(explained[1]), difference_picture(*explained)]
        return [data_uri(jpeg(view)) for view in views]


async def _predict(model: Model, upload: Upload) -> Prediction:
    return (await to_thread.run_sync(lambda: list(model.engine.predict([upload]))))[0]


def _rows(first: Prediction, second: Prediction) -> list[list[str]]:
    return [
        [
            label(row["class_name"]),
            _number(row["first"]),
            _number(row["second"]),
            "-" if row["difference"] is None else f"{row['difference']:+.3f}",
        ]
        for row in probability_rows(first, second)
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
