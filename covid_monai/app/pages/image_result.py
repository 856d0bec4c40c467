"""One image with its result: the viewer with the heat map to the left, the cards to the right."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.app.evaluation import (
    Figure,
    OperatingPointChoice,
    StoredEvaluation,
    count_thousand,
    why_no_figures,
)
from covid_monai.app.session import ClassifiedImage, ServedModel, explain, read_view
from covid_monai.app.widgets.elements import card, roc_figure, show_template, warn
from covid_monai.app.widgets.heatmap_viewer import HeatmapViewer, heatmap_png
from covid_monai.app.widgets.result import (
    OutcomeStyle,
    called_style,
    class_style,
    download_card,
    not_called_style,
    outcome_label,
    outcome_style,
    reason_text,
)
from covid_monai.core.number_format import format_interval, format_metric, format_percent
from covid_monai.core.vocabulary import NORMAL, RefusalReason, Status, UnreadableImage
from covid_monai.evaluation.metrics.clinical_utility import predictive_values
from covid_monai.inference.prediction import UNCERTAIN, Prediction
from covid_monai.inference.wording import (
    class_label,
    explained_class,
    level_reason,
    probability_words,
    unseen_sentence,
)

# What the detail of the reason does not say.
_WHAT_TO_DO = {
    RefusalReason.INVERTED: "Swap black and white, or correct Photometric Interpretation in the file.",
    RefusalReason.COLOUR: "Use the radiograph itself, not a photograph or a coloured screenshot.",
}
# Prevalences to choose with one click, in percent; the second is the first shown. Most images of a ward are
# normal, few show a given disease.
_PREVALENCES = defaultdict(lambda: (1, 5, 20), {NORMAL: (50, 80, 95)})
_MIN_PERCENT, _MAX_PERCENT = 0.1, 99.0


class ResultSettings:
    """Operating point and prevalences that a visitor has chosen, for all of their images."""

    def __init__(self, offered: list[OperatingPointChoice]) -> None:
        self.offered = offered
        self.choice = offered[0]
        self.prevalences: dict[str, float] = {}

    def prevalence(self, class_name: str) -> float:
        """Return the percentage of images that are of a class."""
        return self.prevalences.get(class_name, float(_PREVALENCES[class_name][1]))


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
        prediction, choice = image.prediction, self.settings.choice
        if not prediction.ok or (choice.class_name is None and prediction.abnormal is not None):
            return outcome_style(prediction)
        decided = choice.decide(prediction)["class"]
        if choice.class_name is None:
            return class_style(decided)
        return called_style(decided, prediction) if decided else not_called_style(choice.class_name)

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
            _gate_line(self.model, image.prediction)
        else:
            _reason_card(image.prediction)
        download_card(self.model, image.source.load(), image.prediction)

    def _sentence(self, prediction: Prediction) -> str:
        if not prediction.ok:
            return outcome_style(prediction).meaning
        choice = self.settings.choice
        if prediction.abnormal is None:
            decision = choice.decide(prediction)
            if decision["class"] == UNCERTAIN:
                return _why_uncertain(prediction.prediction_set or [], decision)
        elif choice.class_name is None and (why := level_reason(prediction)):
            return f"{why} {probability_words(prediction)}"
        return probability_words(prediction)

    async def _picture(self, image: ClassifiedImage) -> None:
        if not image.can_be_displayed:
            with ui.element("div").classes("no-picture"):
                ui.icon("image_not_supported", size="3rem").props("aria-hidden=true")
                ui.label("There is no picture, because the file was not read as a chest radiograph.")
            return
        waiting = ui.spinner(size="lg").props("aria-label='The image is being read'")
        view = await asyncio.to_thread(read_view, self.model, image.source)
        if waiting.is_deleted:  # the visitor has chosen another image
            return
        waiting.delete()
        if view is None:
            ui.label("The image cannot be displayed. The result is not affected.")
            return
        viewer = HeatmapViewer(view, label=f"Image {image.source.name}")
        if image.prediction.ok:
            await self._heatmap(image, viewer)

    async def _heatmap(self, image: ClassifiedImage, viewer: HeatmapViewer) -> None:
        async def draw() -> None:
            class_name = select.value
            try:
                heatmap = await asyncio.to_thread(
                    lambda: heatmap_png(explain(self.model, image.source, class_name))
                )
            except (Busy, UnreadableImage, ValueError) as error:
                warn(f"The heat map cannot be drawn. {error}")
                return
            if not viewer.is_deleted:
                viewer.show_heatmap(heatmap, class_label(class_name))

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


def announcement(image: ClassifiedImage, style: OutcomeStyle) -> str:
    """Return the sentence that a screen reader reads when a result has come."""
    reason = "" if image.prediction.ok else reason_text(image.prediction)
    return f"{image.source.name}: {style.words}." + (f" {reason}" if reason else "")


def _outcome_card(style: OutcomeStyle, sentence: str, prediction: Prediction) -> None:
    with ui.element("section").classes("card outcome-card").props("aria-label=Result"):
        outcome_label(style, large=True)
        ui.label(sentence).classes("sentence")
        if prediction.ok:
            ui.label(f"{style.meaning} {unseen_sentence(prediction)}").classes("dim small")


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


def _gate_line(model: ServedModel, prediction: Prediction) -> None:
    """Show what the gate decided about a classified image, the source that it resembles, and its lungs."""
    has_gate = model.engine.classifier.gate is not None
    with ui.row().classes("gate small"):
        ui.icon("verified_user" if has_gate else "gpp_maybe").props("aria-hidden=true")
        ui.label(
            "Input gate: the image was accepted as an upright frontal chest image. The gate finds far "
            "outliers only."
            if has_gate
            else "This bundle has no input gate: it classifies any grey image, whatever the image shows."
        )
    if prediction.source_shift is not None:
        with ui.row().classes("gate small source-shift"):
            known = prediction.source_shift["like_training"]
            ui.icon("info" if known else "gpp_maybe").props("aria-hidden=true")
            ui.label(prediction.source_shift["note"])
    if prediction.quality is not None:
        with ui.row().classes("gate small lungs"):
            ui.icon("gpp_maybe" if prediction.quality["cut_off"] else "info").props("aria-hidden=true")
            ui.label(prediction.quality["note"])


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
    if not names or possible == [decision["at_operating_point"]]:
        return str(decision["reason"])
    if len(names) == 1:
        called = class_label(decision["at_operating_point"])
        return f"Only {names[0]} is likely, but by the thresholds the class is {called}."
    return f"{', '.join(names[:-1])} and {names[-1]} are possible; none of them can be excluded."


def operating_point_card(settings: ResultSettings, on_change: Callable[[], None]) -> None:
    """Let the visitor choose an operating point."""

    def chosen() -> None:
        settings.choice = settings.offered[select.value]
        rule.text = settings.choice.rule
        on_change()

    with card("Operating point"):
        titles = {number: choice.title for number, choice in enumerate(settings.offered)}
        chosen_now = settings.offered.index(settings.choice)
        select = ui.select(titles, value=chosen_now, label="Decide by", on_change=lambda: chosen())
        select.classes("full operating-point")
        with ui.expansion("The rule").classes("small rule").props("dense"):
            rule = ui.label(settings.choice.rule).classes("small")
        ui.label("Downloads always contain the decision by the model's own thresholds.").classes("dim small")


def meaning_card(
    settings: ResultSettings, prediction: Prediction, evaluation: StoredEvaluation | None
) -> None:
    """Show how often a decision for a class is right at the prevalence that the visitor sets."""
    choice = settings.choice
    class_name = choice.class_name or str(prediction.predicted_class)
    with card(f"How often it is right: {class_label(class_name)}"):
        missing = why_no_figures(evaluation)
        if evaluation is None or missing is not None:
            ui.label(str(missing)).classes("no-figures")
            return
        rates = evaluation.rates(choice, class_name)
        if rates is None:
            ui.label("This was not measured for this class.").classes("no-figures")
            return
        with ui.element("div").classes("meaning"):
            with ui.element("div").classes("meaning-text"):
                _prevalence(settings, rates, class_name)
            _roc(evaluation, rates, class_name)
        ui.label(
            f"{evaluation.about} Uncertain images are counted by the thresholds alone. All images are from "
            "public collections, in which classes come from different hospitals: expect less elsewhere."
        ).classes("dim small")


def _prevalence(settings: ResultSettings, rates: Mapping[str, Figure], class_name: str) -> None:
    def changed() -> None:
        if field.value is not None and _MIN_PERCENT <= field.value <= _MAX_PERCENT:
            settings.prevalences[class_name] = float(field.value)
            counts.refresh()

    with ui.row().classes("prevalence"):
        field = ui.number(
            f"Prevalence: share of images that are {class_label(class_name)}",
            value=settings.prevalence(class_name),
            min=_MIN_PERCENT,
            max=_MAX_PERCENT,
            step=0.5,
            suffix="%",
            on_change=lambda: changed(),
        ).classes("prevalence-field")
        for value in _PREVALENCES[class_name]:
            ui.button(f"{value} %", on_click=lambda value=value: field.set_value(value)).props(
                "flat dense no-caps"
            )

    @ui.refreshable
    def counts() -> None:
        _thousand_images(settings.prevalence(class_name) / 100, rates, class_name)

    counts()


def _thousand_images(prevalence: float, rates: Mapping[str, Figure], class_name: str) -> None:
    (values,) = predictive_values(rates["sensitivity"], rates["specificity"], [prevalence])
    sensitivity, specificity = rates["sensitivity"]["value"] or 0.0, rates["specificity"]["value"] or 0.0
    show_template(
        "thousand.html.j2",
        name=class_label(class_name),
        count=count_thousand(sensitivity, specificity, prevalence),
        **{key: _share(values[key]) for key in ("ppv", "npv")},
        **{key: _share(rates[key]) for key in ("sensitivity", "specificity")},
    )


def _share(figure: Figure) -> str:
    """Return a share with its interval."""
    if figure["value"] is None:
        return "an unknown share"
    if figure["low"] is None:
        return format_percent(figure["value"])
    low, high = format_percent(figure["low"]), format_percent(figure["high"])
    return f"{format_percent(figure['value'])} ({low} to {high})"


def _roc(evaluation: StoredEvaluation, rates: Mapping[str, Figure], class_name: str) -> None:
    auroc: Figure = evaluation.per_class[class_name]["auroc"]
    area = f"{format_metric(auroc['value'])} ({format_interval(auroc)})"
    title = f"ROC curve of {class_label(class_name)} with the operating point; AUROC {area}"
    caption = f"AUROC {area}. The dot is this operating point."
    point = (rates["sensitivity"], rates["specificity"])
    roc_figure(evaluation.rocs.get(class_name, []), point, title=title, caption=caption)
