"""The compare tab: two models classify the same image."""

import asyncio

import numpy as np
from anyio import to_thread
from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.api.uploads import Upload
from covid_monai.app.session import AppContext, ServedModel, explain, predict_one
from covid_monai.app.widgets import elements
from covid_monai.app.widgets.dropzone import Dropzone, FilesDropped
from covid_monai.app.widgets.elements import wait_for, warn
from covid_monai.app.widgets.result import show_result
from covid_monai.core.number_format import format_probability
from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.inference.wording import class_label, explained_class, finding
from covid_monai.results.rendering import RgbImage, render_image, render_overlay, resample_heat
from covid_monai.transforms.heatmap_overlay import overlay_heatmap

_ORDER = "First", "Second"
# Orange and blue of Okabe and Ito, which colour-blind readers can tell apart; red, green, blue.
FIRST_HOTTER, SECOND_HOTTER = (230, 159, 0), (86, 180, 233)


class CompareTab:
    """The tab of one visitor."""

    def __init__(self, context: AppContext) -> None:
        self._models = list(context.models.values())[:2]
        self._upload: Upload | None = None
        if len(self._models) < 2:
            with elements.card("Only one model"):
                ui.label(f"This page was started with one bundle, {context.model.name}. To compare two, run:")
                ui.label("covid-monai app --bundle FIRST --compare SECOND").classes("code")
            return
        title = "Drop one image for both models"
        zone = Dropzone(context.limits, context.budget, on_files=self._take, title=title, multiple=False)
        zone.on("done", self._compare)
        self._body = ui.column().classes("compare-body")

    def _take(self, dropped: FilesDropped) -> None:
        self._upload = dropped.uploads[0] if dropped.uploads else None
        if not dropped.uploads:
            warn("The archive contains no image. Choose another file.")
        elif len(dropped.uploads) > 1:
            warn("The archive contains more than one image. Only the first is used.")

    async def _compare(self) -> None:
        if self._upload is None:
            return
        upload, self._upload = self._upload, None
        self._body.clear()
        with self._body:
            waiting = ui.spinner(size="3em")
            try:
                first, second = await asyncio.gather(
                    *(to_thread.run_sync(predict_one, model, upload) for model in self._models)
                )
            except Busy as error:
                warn(str(error))
                return
            finally:
                waiting.delete()
            self._show(upload, first, second)

    def _show(self, upload: Upload, first: Prediction, second: Prediction) -> None:
        with elements.card(upload.name):
            ui.label(agreement(first, second)).props("role=status").classes("agreement")
        with ui.element("div").classes("side-by-side"):
            for order, model, prediction in zip(_ORDER, self._models, (first, second), strict=True):
                with elements.card(f"{order}: {model.name}", "stack"):
                    show_result(prediction)
        if not (first.ok or second.ok):
            return
        with elements.card("Probabilities"):
            elements.table(["Class", *_ORDER, "Difference"], probability_rows(first, second))
        if classes := shared_classes(first, second):
            _show_heatmaps(self._models, upload, classes, explained_class(first))


def _show_heatmaps(models: list[ServedModel], upload: Upload, classes: list[str], class_name: str) -> None:
    """Show both models' heat maps for one class, which the visitor may change, and where they differ."""

    def make_views(class_name: str) -> list[str]:
        first, second = (explain(model, upload, class_name) for model in models)
        views = [render_overlay(first), render_overlay(second), difference_picture(first, second)]
        return [elements.data_uri(view) for view in views]

    async def draw() -> None:
        class_name = choice.value
        pictures.clear()
        with pictures:
            try:
                *both, difference = await wait_for(make_views, class_name)
            except (Busy, ValueError) as error:
                ui.label(f"The heat maps cannot be drawn. {error}").props("role=alert")
                return
            if class_name != choice.value:
                return  # the visitor has chosen another class, which is being drawn
            for order, view in zip(_ORDER, both, strict=True):
                elements.picture(view, f"{order}: evidence for {class_label(class_name)}")
            elements.picture(
                difference, "Difference: orange where the first is hotter, blue where the second is hotter"
            )

    with elements.card("Where each model looks", "stack"):
        names = {name: class_label(name) for name in classes}
        with ui.row().classes("filters"):
            shown = class_name if class_name in names else classes[0]
            choice = ui.select(names, value=shown, label="Evidence for", on_change=draw)
            choice.props("outlined dense").classes("choice")
        pictures = ui.row().classes("pictures")
    ui.timer(0, draw, once=True)


def agreement(first: Prediction, second: Prediction) -> str:
    """Return one sentence on whether both models say the same about an image."""
    if not first.ok and not second.ok:
        return "Neither model classified the image."
    if not (first.ok and second.ok):
        which, other = ("first", second) if first.ok else ("second", first)
        return f"Only the {which} model classified the image; the other did not ({other.reason})."
    words = finding(first), finding(second)
    if words[0] == words[1]:
        return f"Both models say the same: {words[0]}."
    return f"The models do not agree. First: {words[0]}. Second: {words[1]}."


def probability_rows(first: Prediction, second: Prediction) -> list[list[str]]:
    """Return class, both probabilities and their difference for each class that either model knows."""
    a, b = first.probabilities or {}, second.probabilities or {}
    return [
        [
            class_label(name),
            *(format_probability(of[name]) if name in of else "-" for of in (a, b)),
            f"{100 * (b[name] - a[name]):+.1f} points" if name in a and name in b else "-",
        ]
        for name in {**a, **b}
    ]


def shared_classes(first: Prediction, second: Prediction) -> list[str]:
    """Return the classes that both models give a probability for, in the first model's order."""
    return [name for name in first.probabilities or {} if name in (second.probabilities or {})]


def difference_picture(first: ImageWithHeatmap, second: ImageWithHeatmap) -> RgbImage:
    """Colour the image where one heat map is hotter: the larger the difference, the stronger the colour.

    Shape [h, w, 3], as `render_image`: `FIRST_HOTTER` where the first map is hotter, else `SECOND_HOTTER`.
    """
    image = render_image(first.image)[..., 0] / 255
    difference = resample_heat(first, image.shape) - resample_heat(second, image.shape)
    colours = np.where(difference[..., None] > 0, FIRST_HOTTER, SECOND_HOTTER) / 255
    return overlay_heatmap(image, np.abs(difference), colours=colours)
