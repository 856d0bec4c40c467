"""One image with all that is known about it: viewer to the left, cards to the right."""

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.app.pages.cards import gate_line, outcome_card, probability_card, reason_card
from covid_monai.app.pages.decision_card import Settings, meaning_card, operating_point_card
from covid_monai.app.viewer import Viewer
from covid_monai.app.visit import Visit, VisitedImage, without_name
from covid_monai.app.widgets.downloads import download_card
from covid_monai.app.widgets.figures import Figures
from covid_monai.app.widgets.status import Look, label, look_of, look_of_class, look_of_not_called
from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.inference.prediction import UNCERTAIN
from covid_monai.results.wording import explained_class


class ImageResult:
    """Shows one image of a visit.

    Args:
        visit: Whose image it is.
        settings: What the visitor has chosen.
        figures: Of the model, if it has any.
        about: What the figures are, or why there are none.
        on_change: Called when the visitor has chosen another operating point: images may look otherwise now.
    """

    def __init__(
        self,
        visit: Visit,
        settings: Settings,
        figures: Figures | None,
        about: str,
        *,
        on_change: Callable[[], None],
    ) -> None:
        self._visit, self._settings = visit, settings
        self._figures, self._about = figures, about
        self._on_change = on_change

    async def show(self, image: VisitedImage) -> None:
        """Lay out the image; its picture and heat map come as soon as they are made."""
        with ui.element("div").classes("detail"):
            head = ui.element("div").classes("detail-head")
            picture = ui.element("div").classes("detail-image card")
            with ui.element("div").classes("detail-cards"):
                self._cards(image, head)
        with picture:
            await self._picture(image)

    def look(self, image: VisitedImage) -> Look:
        """How the image is shown at the operating point that the visitor has chosen."""
        if not image.prediction.ok:
            return look_of(image.prediction)
        decided = self._settings.choice.decide(image.prediction)["class"]
        if decided is None:
            return look_of_not_called(str(self._settings.choice.class_name))
        return look_of_class(decided)

    def _cards(self, image: VisitedImage, head: ui.element) -> None:
        @ui.refreshable
        def first() -> None:
            outcome_card(image, self.look(image), self._sentence(image))

        @ui.refreshable
        def rest() -> None:
            calibration = self._visit.model.engine.classifier.calibration
            coverage = None if calibration is None else calibration.coverage
            probability_card(image.prediction, self._settings.choice.thresholds, coverage)
            meaning_card(self._settings, image.prediction, self._figures, self._about)

        def changed() -> None:
            first.refresh()
            rest.refresh()
            self._on_change()

        with head:
            first()
        if image.prediction.ok:
            operating_point_card(self._settings, changed)
            rest()
            gate_line(self._visit.model)
        else:
            reason_card(image)
        download_card(self._visit.model, image)

    def _sentence(self, image: VisitedImage) -> str:
        prediction = image.prediction
        if not prediction.ok:
            return look_of(prediction).meaning
        decision = self._settings.choice.decide(prediction)
        if decision["class"] == UNCERTAIN:
            return _why_uncertain(prediction.prediction_set or [], decision)
        probable = str(prediction.predicted_class)
        value = (prediction.probabilities or {})[probable]
        return f"Most probable: {label(probable)}, {value * 100:.1f} %."

    async def _picture(self, image: VisitedImage) -> None:
        name = image.upload.name
        if not image.can_be_shown:
            with ui.element("div").classes("no-picture"):
                ui.icon("image_not_supported", size="3rem").props("aria-hidden=true")
                ui.label("No picture: the file was not read as a chest radiograph.")
            return
        waiting = ui.spinner(size="lg").props("aria-label='The image is being read'")
        viewed = await self._visit.view(image)
        if waiting.is_deleted:  # the visitor looks at another image by now
            return
        waiting.delete()
        if viewed is None:
            ui.label("The image cannot be shown.")
            return
        viewer = Viewer(viewed, label=f"Image {name}")
        if image.prediction.ok:
            await self._heat(image, viewer)

    async def _heat(self, image: VisitedImage, viewer: Viewer) -> None:
        async def explain() -> None:
            try:
                explained = await self._visit.explain(image, select.value)
            except (Busy, UnreadableImage, ValueError) as error:
                ui.notify(str(error), type="warning")
                return
            if viewer.is_deleted:
                return
            viewer.show_heat(explained, label(select.value))

        names = {name: label(name) for name in image.prediction.probabilities or {}}
        with ui.row().classes("heat-row"):
            select = ui.select(
                names, value=explained_class(image.prediction), label="Heat map (Grad-CAM) for"
            )
            select.classes("heat-class").on_value_change(explain)
        words = (
            "What moved the model, not where disease is: coarse, and relative to this image's hottest place."
        )
        ui.label(words).classes("dim small")
        await explain()


def _why_uncertain(possible: list[str], decision: Mapping[str, Any]) -> str:
    """The decision's reason, with the classes as a person reads them."""
    names = list(map(label, possible))
    if not names:
        return str(decision["reason"])
    if len(names) == 1:
        called = label(decision["at_operating_point"])
        return f"Only {names[0]} is likely, but the thresholds call it {called}."
    return f"{', '.join(names[:-1])} and {names[-1]} are possible; none of them can be excluded."


def announcement(image: VisitedImage, look: Look) -> str:
    """One sentence for a screen reader when a result has come."""
    reason = without_name(image.prediction, image.upload.name).detail
    return f"{image.upload.name}: {look.words}." + (f" {reason}" if reason else "")
