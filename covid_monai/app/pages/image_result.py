"""One image with its result: the viewer with the heat map to the left, the cards to the right."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.app.evaluation import StoredEvaluation
from covid_monai.app.pages.operating_point_cards import ResultSettings, meaning_card, operating_point_card
from covid_monai.app.session import ClassifiedImage, ServedModel, explain, read_view
from covid_monai.app.widgets.downloads import download_card
from covid_monai.app.widgets.elements import card, show_template, warn
from covid_monai.app.widgets.heatmap_viewer import HeatmapViewer
from covid_monai.app.widgets.outcome import (
    OutcomeStyle,
    class_style,
    not_called_style,
    outcome_label,
    outcome_style,
    reason_text,
)
from covid_monai.core.number_format import format_percent, format_probability
from covid_monai.core.vocabulary import RefusalReason, Status, UnreadableImage
from covid_monai.inference.prediction import UNCERTAIN, Prediction
from covid_monai.results.wording import class_label, explained_class

# What the detail of the reason does not say.
_WHAT_TO_DO = {
    RefusalReason.INVERTED: "Swap black and white, or correct Photometric Interpretation in the file.",
    RefusalReason.COLOUR: "Use the radiograph itself, not a photograph or a coloured screenshot.",
}


@dataclass
class ImageResult:
    """Displays one image of a visitor."""

    model: ServedModel
    settings: ResultSettings
    evaluation: StoredEvaluation | None
    on_change: Callable[[], None]  # called for another operating point: outcomes may change

    async def show(self, image: ClassifiedImage) -> None:
        """Display the image; its picture and heat map follow as soon as they are computed."""
        with ui.element("div").classes("detail"):
            head = ui.element("div").classes("detail-head")
            picture = ui.element("div").classes("detail-image card")
            with ui.element("div").classes("detail-cards"):
                self._cards(image, head)
        with picture:
            await self._picture(image)

    def style(self, image: ClassifiedImage) -> OutcomeStyle:
        """Return how the outcome is displayed at the operating point that the visitor has chosen."""
        if not image.prediction.ok:
            return outcome_style(image.prediction)
        decided = self.settings.choice.decide(image.prediction)["class"]
        if decided is None:
            return not_called_style(str(self.settings.choice.class_name))
        return class_style(decided)

    def _cards(self, image: ClassifiedImage, head: ui.element) -> None:
        @ui.refreshable
        def outcome() -> None:
            _outcome_card(self.style(image), self._sentence(image.prediction), image.prediction)

        @ui.refreshable
        def figures() -> None:
            calibration = self.model.engine.classifier.calibration
            coverage = None if calibration is None else calibration.coverage
            _probability_card(image.prediction, self.settings.choice.thresholds, coverage)
            meaning_card(self.settings, image.prediction, self.evaluation)

        def changed() -> None:
            outcome.refresh()
            figures.refresh()
            self.on_change()

        with head:
            outcome()
        if image.prediction.ok:
            operating_point_card(self.settings, changed)
            figures()
            _gate_line(self.model)
        else:
            _reason_card(image.prediction)
        download_card(self.model, image.source.load(), image.prediction)

    def _sentence(self, prediction: Prediction) -> str:
        if not prediction.ok:
            return outcome_style(prediction).meaning
        decision = self.settings.choice.decide(prediction)
        if decision["class"] == UNCERTAIN:
            return _why_uncertain(prediction.prediction_set or [], decision)
        probable = str(prediction.predicted_class)
        value = format_probability((prediction.probabilities or {})[probable])
        return f"Most probable class: {class_label(probable)}, {value}."

    async def _picture(self, image: ClassifiedImage) -> None:
        if not image.can_be_displayed:
            with ui.element("div").classes("no-picture"):
                ui.icon("image_not_supported", size="3rem").props("aria-hidden=true")
                ui.label("There is no picture, because the file was not read as a chest radiograph.")
            return
        waiting = ui.spinner(size="lg").props("aria-label='The image is being read'")
        view = await asyncio.to_thread(lambda: read_view(image.source.load()))
        if waiting.is_deleted:  # the visitor has chosen another image
            return
        waiting.delete()
        if view is None:
            ui.label("The image cannot be displayed. The result is not affected.")
            return
        viewer = HeatmapViewer(view, label=f"Image {image.name}")
        if image.prediction.ok:
            await self._heatmap(image, viewer)

    async def _heatmap(self, image: ClassifiedImage, viewer: HeatmapViewer) -> None:
        async def draw() -> None:
            try:
                explained = await asyncio.to_thread(explain, self.model, image.source, select.value)
            except (Busy, UnreadableImage, ValueError) as error:
                warn(f"The heat map cannot be drawn. {error}")
                return
            if not viewer.is_deleted:
                viewer.show_heatmap(explained, class_label(select.value))

        names = {name: class_label(name) for name in image.prediction.probabilities or {}}
        with ui.row().classes("heat-row"):
            first = explained_class(image.prediction)
            select = ui.select(names, value=first, label="Heat map (Grad-CAM) for")
            select.classes("heat-class").on_value_change(draw)
        ui.label(
            "The heat map shows what influenced the model, not where disease is. It is coarse, and relative "
            "to the hottest place of this image."
        ).classes("dim small")
        await draw()


def _outcome_card(style: OutcomeStyle, sentence: str, prediction: Prediction) -> None:
    with ui.element("section").classes("card outcome-card").props("aria-label=Result"):
        outcome_label(style, large=True)
        ui.label(sentence).classes("sentence")
        if prediction.ok:
            ui.label(style.meaning).classes("dim small")


def _reason_card(prediction: Prediction) -> None:
    """Show why an image has no class, and what to do."""
    refused = prediction.status is Status.REFUSED
    with card("Why it was refused" if refused else "What went wrong"):
        ui.label(reason_text(prediction) or "No details are known.")
        reason = str(prediction.reason).replace("_", " ")
        ui.label(f"Reason: {reason}.").classes("dim small")
        if what_to_do := _WHAT_TO_DO.get(prediction.reason or ""):  # type: ignore[call-overload]
            ui.label(what_to_do)
        words = "No probability was computed. Refused does not mean normal." if refused else "Not classified."
        ui.label(words).classes("small dim")


def _gate_line(model: ServedModel) -> None:
    """Show what the gate decided about an image that was classified."""
    has_gate = model.engine.classifier.gate is not None
    with ui.row().classes("gate small"):
        ui.icon("verified_user" if has_gate else "gpp_maybe").props("aria-hidden=true")
        ui.label(
            "Input gate: the image was accepted as an upright frontal chest image like the training images."
            if has_gate
            else "This bundle has no input gate: it classifies any grey image, whatever the image shows."
        )


def _probability_card(
    prediction: Prediction, thresholds: Mapping[str, float], coverage: float | None
) -> None:
    """Show probabilities as bars with their thresholds, and the classes that cannot be excluded."""
    possible = prediction.prediction_set
    with card("Calibrated probabilities" if possible is not None else "Probabilities (not calibrated)"):
        show_template(
            "probabilities.html.j2",
            probabilities=prediction.probabilities or {},
            thresholds=thresholds,
            possible=possible,
            share="most" if coverage is None else format_percent(coverage, 0),
        )


def _why_uncertain(possible: list[str], decision: Mapping[str, Any]) -> str:
    """Return the decision's reason, with the classes as the page displays them."""
    names = list(map(class_label, possible))
    if not names:
        return str(decision["reason"])
    if len(names) == 1:
        called = class_label(decision["at_operating_point"])
        return f"Only {names[0]} is likely, but by the thresholds the class is {called}."
    return f"{', '.join(names[:-1])} and {names[-1]} are possible; none of them can be excluded."


def announcement(image: ClassifiedImage, style: OutcomeStyle) -> str:
    """Return the sentence that a screen reader reads when a result has come."""
    reason = "" if image.prediction.ok else reason_text(image.prediction)
    return f"{image.name}: {style.words}." + (f" {reason}" if reason else "")
