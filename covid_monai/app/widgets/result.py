"""A result in words, icon and colour (never the colour alone), and the files to download for it."""

import hashlib
import json
from typing import NamedTuple

from nicegui import ui

from covid_monai.api.uploads import Upload
from covid_monai.app.session import ServedModel
from covid_monai.app.widgets.elements import Download, card, download_button
from covid_monai.core.vocabulary import NORMAL, Status
from covid_monai.inference.prediction import UNCERTAIN, Prediction
from covid_monai.results.wording import class_label


class OutcomeStyle(NamedTuple):
    """How one outcome is displayed."""

    kind: str  # normal, finding, not-called, uncertain, refused or error; the CSS class is outcome-KIND
    words: str  # one or two, the same wherever the outcome is displayed
    icon: str  # name of a Material icon
    meaning: str


REFUSED = OutcomeStyle(
    "refused", "Refused", "block", "The image was not classified. It is not called normal. See the reason."
)
ERROR = OutcomeStyle(
    "error", "Error", "broken_image", "The file could not be read or computed. It was not classified."
)
_CLASS_MEANING = "This is a class of the model, not a diagnosis."


def outcome_style(prediction: Prediction) -> OutcomeStyle:
    """Return how a prediction is displayed, at the bundle's own operating point."""
    if prediction.status is Status.REFUSED:
        return REFUSED
    if prediction.status is Status.ERROR:
        return ERROR
    return class_style(str((prediction.decision or {}).get("class", prediction.predicted_class)))


def class_style(decided: str) -> OutcomeStyle:
    """Return how a decision is displayed."""
    if decided == UNCERTAIN:
        meaning = "The model does not decide: several classes fit, or none does."
        return OutcomeStyle("uncertain", "Uncertain", "help", meaning)
    if decided == NORMAL:
        meaning = "The model calls the image normal. This does not exclude diseases that it does not know."
        return OutcomeStyle("normal", "Normal", "check_circle", meaning)
    return OutcomeStyle("finding", class_label(decided), "warning", _CLASS_MEANING)


def not_called_style(class_name: str) -> OutcomeStyle:
    """Return how an image below the threshold is displayed, at an operating point for one class."""
    words = f"Not called {class_label(class_name)}"
    meaning = "The probability is below the threshold. This says nothing about the other classes."
    return OutcomeStyle("not-called", words, "remove_circle", meaning)


LEGEND = (
    class_style(NORMAL),
    OutcomeStyle("finding", "Pneumonia, COVID-19 …", "warning", _CLASS_MEANING),
    class_style(UNCERTAIN),
    REFUSED,
    ERROR,
)


def outcome_label(style: OutcomeStyle, *, large: bool = False) -> ui.element:
    """Show an outcome with icon, words and colour."""
    with ui.element("span").classes(f"outcome outcome-{style.kind}" + " outcome-large" * large) as element:
        ui.icon(style.icon).props("aria-hidden=true")
        ui.label(style.words)
    return element


def reason_text(prediction: Prediction) -> str:
    """Return why an image was refused, failed or is uncertain, without its name; empty if it was decided."""
    if prediction.ok:
        return str((prediction.decision or {}).get("reason") or "")
    return str(prediction.detail or "").removeprefix(f"{prediction.file}: ")


def legend() -> None:
    """Show all outcomes with their meanings."""
    with card("What the results mean", "legend"):
        for style in LEGEND:
            with ui.element("div").classes("legend-row"):
                outcome_label(style)
                ui.label(style.meaning)


def show_result(prediction: Prediction) -> None:
    """Show a prediction in words: outcome, its meaning, the reason, and the classes not excluded."""
    style = outcome_style(prediction)
    outcome_label(style)
    ui.label(style.meaning)
    if reason := reason_text(prediction):
        ui.label(reason)
    if prediction.prediction_set is not None:
        possible = ", ".join(map(class_label, prediction.prediction_set)) or "none, because no class fits"
        ui.label(f"Cannot be excluded: {possible}.")


def download_card(model: ServedModel, upload: Upload, prediction: Prediction) -> None:
    """Show one button for each file that can be made, and explain why some are missing."""
    is_dicom = prediction.status is not Status.ERROR and not upload.data.startswith(
        (b"\xff\xd8\xff", b"\x89PNG")
    )

    def named(content: bytes, suffix: str) -> Download:
        """Give a file a name that differs between images, and contains no name of a patient."""
        digest = hashlib.sha256(upload.data).hexdigest()[:10]
        return content, f"covid-monai-{digest}.{suffix}", f"application/{suffix}"

    def json_record() -> Download:
        return named(json.dumps(prediction.to_json(), indent=2, ensure_ascii=False).encode(), "json")

    def dicom_object(*, heatmap: bool) -> Download:
        made = model.engine.dicom_object(upload, prediction, heatmap=heatmap)
        return made.data, made.name, "application/dicom"

    with card("Downloads"):
        with ui.row().classes("downloads"):
            make_pdf = model.engine.pdf_report
            download_button(
                "PDF report", "picture_as_pdf", lambda: named(make_pdf(upload, prediction), "pdf")
            )
            download_button("JSON", "data_object", json_record)
            if is_dicom:
                download_button("DICOM SR", "description", lambda: dicom_object(heatmap=False))
            if is_dicom and prediction.ok:
                download_button("Secondary Capture", "image", lambda: dicom_object(heatmap=True))
        if not is_dicom:
            words = (
                "DICOM SR and Secondary Capture belong to a study, so they are made for DICOM images only."
            )
            ui.label(words).classes("dim small")
