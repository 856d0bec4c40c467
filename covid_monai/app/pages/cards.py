"""Cards of the image tab: what was found, how probable, what the gate said."""

from collections.abc import Mapping

from nicegui import ui

from covid_monai.app.desk import Model
from covid_monai.app.visit import VisitedImage, without_name
from covid_monai.app.widgets.badge import badge, heading
from covid_monai.app.widgets.status import Look, label
from covid_monai.core.number_format import format_percent, format_probability
from covid_monai.core.vocabulary import RefusalReason, Status
from covid_monai.inference.prediction import Prediction

_WAYS_OUT = {
    RefusalReason.NOT_FRONTAL: "Give the frontal image (PA or AP) of the study.",
    RefusalReason.NOT_UPRIGHT: "Turn the picture upright, and give it again.",
    RefusalReason.INVERTED: "Swap black and white, or correct Photometric Interpretation in the file.",
    RefusalReason.COLOUR: "Give the radiograph itself, not a photograph or a coloured screen picture.",
    RefusalReason.NOT_CHEST: "Give a chest radiograph.",
    RefusalReason.MULTI_FRAME: "Give a single frame.",
}


def outcome_card(image: VisitedImage, look: Look, sentence: str) -> None:
    """What was found, in large letters."""
    with ui.element("section").classes("card outcome-card").props("aria-label=Result"):
        badge(look, large=True)
        ui.label(sentence).classes("sentence")
        if image.prediction.ok:
            ui.label(look.meaning).classes("dim small")


def reason_card(image: VisitedImage) -> None:
    """Why an image has no class, and the way out."""
    prediction = without_name(image.prediction, image.upload.name)
    with ui.element("section").classes("card").props("aria-label=Reason"):
        refused = prediction.status is Status.REFUSED
        heading("Why it was refused" if refused else "What went wrong")
        ui.label(str(prediction.detail or "No more is known."))
        reason = str(prediction.reason).replace("_", " ")
        ui.label(f"Reason: {reason}.").classes("dim small")
        if way := _WAYS_OUT.get(prediction.reason or ""):  # type: ignore[call-overload]
            ui.label(way)
        words = "No probability was computed. Refused does not mean normal." if refused else "Not classified."
        ui.label(words).classes("small dim")


def gate_line(model: Model) -> None:
    """What the gate said of an image that was classified."""
    there = model.engine.classifier.gate is not None
    with ui.row().classes("gate small"):
        ui.icon("verified_user" if there else "gpp_maybe").props("aria-hidden=true")
        ui.label(
            "Input gate: accepted as an upright frontal chest image like those of the training."
            if there
            else "This bundle has no input gate: any grey picture is classified, whatever it shows."
        )


def probability_card(prediction: Prediction, thresholds: Mapping[str, float], coverage: float | None) -> None:
    """Calibrated probabilities as bars, with thresholds and the classes that cannot be excluded."""
    possible = prediction.prediction_set
    with ui.element("section").classes("card").props("aria-label=Probabilities"):
        heading("Calibrated probabilities" if possible is not None else "Probabilities (not calibrated)")
        with ui.element("dl").classes("bars"):
            for name, value in (prediction.probabilities or {}).items():
                _bar(
                    name, value, thresholds.get(name), excluded=possible is not None and name not in possible
                )
        if thresholds:
            ui.label("▏ threshold of the operating point").classes("dim small")
        if possible is not None:
            _set(possible, coverage)


def _bar(name: str, value: float, threshold: float | None, *, excluded: bool) -> None:
    with ui.element("div").classes("bar-row" + " excluded" * excluded):
        with ui.element("dt"):
            ui.label(label(name))
        with ui.element("dd"):
            with ui.element("div").classes("bar").props("aria-hidden=true"):
                ui.element("div").classes("bar-fill").style(f"width: {value:.2%}")
                if threshold is not None:
                    ui.element("div").classes("bar-mark").style(f"left: {threshold:.2%}")
            ui.label(format_probability(value)).classes("number bar-value")


def _set(possible: list[str], coverage: float | None) -> None:
    with ui.element("div").classes("set"):
        ui.label("Cannot be excluded:").classes("set-title")
        for name in possible:
            ui.label(label(name)).classes("chip")
        if not possible:
            ui.label("no class fits").classes("chip")
    share = "most" if coverage is None else format_percent(coverage, 0)
    ui.label(
        f"The conformal set: of validation images of each class, {share} had their true class in it. "
        "One class: the model is clear. Several: they cannot be told apart. None: unlike all classes."
    ).classes("dim small")
