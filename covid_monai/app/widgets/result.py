"""A result in words, icon and colour (never the colour alone), and the files to download for it."""

import hashlib
import json
from importlib import resources
from typing import NamedTuple

import yaml
from nicegui import ui

from covid_monai.api.uploads import Upload
from covid_monai.app.session import ServedModel
from covid_monai.app.widgets.elements import Download, card, download_button
from covid_monai.core.errors import without_file_name
from covid_monai.core.vocabulary import NORMAL, NOT_VALIDATED, Status
from covid_monai.inference.prediction import UNCERTAIN, Prediction
from covid_monai.inference.wording import (
    class_label,
    finding,
    is_abnormal,
    is_uncertain,
    level_reason,
    unseen_sentence,
)


class OutcomeStyle(NamedTuple):
    """How one outcome is displayed; outcomes.yaml explains the fields."""

    kind: str
    words: str
    icon: str
    meaning: str


_STYLES = {
    kind: OutcomeStyle(kind, **style)
    for kind, style in yaml.safe_load(
        resources.files(__package__).joinpath("outcomes.yaml").read_text("utf-8")
    ).items()
}
_CLASS_MEANING = "This is a class of the model, not a diagnosis."
LEGEND = tuple(style for kind, style in _STYLES.items() if kind != "not-called")


def outcome_style(prediction: Prediction) -> OutcomeStyle:
    """Return how a prediction is displayed, at the bundle's own operating point."""
    if prediction.status is not Status.OK:
        return _STYLES[prediction.status]
    if prediction.abnormal is None:
        return class_style(str((prediction.decision or {}).get("class", prediction.predicted_class)))
    if is_uncertain(prediction):
        return _STYLES[UNCERTAIN]
    if not is_abnormal(prediction):
        return _STYLES[NORMAL]
    return _STYLES["finding"]._replace(words=finding(prediction))


def class_style(decided: str) -> OutcomeStyle:
    """Return how a decision is displayed."""
    if decided in (NORMAL, UNCERTAIN):
        return _STYLES[decided]
    return _STYLES["finding"]._replace(words=class_label(decided), meaning=_CLASS_MEANING)


def called_style(class_name: str, prediction: Prediction) -> OutcomeStyle:
    """Return how an image above the threshold for one class is displayed: the class is no validated cause."""
    style = class_style(class_name)
    if prediction.abnormal is None or class_name == NORMAL:
        return style
    return style._replace(words=f"{style.words} ({NOT_VALIDATED})")


def not_called_style(class_name: str) -> OutcomeStyle:
    """Return how an image below the threshold is displayed, at an operating point for one class."""
    return _STYLES["not-called"]._replace(words=f"Not called {class_label(class_name)}")


def outcome_label(style: OutcomeStyle, *, large: bool = False) -> ui.element:
    """Show an outcome with icon, words and colour."""
    with ui.element("span").classes(f"outcome outcome-{style.kind}" + " outcome-large" * large) as element:
        ui.icon(style.icon).props("aria-hidden=true")
        ui.label(style.words)
    return element


def reason_text(prediction: Prediction) -> str:
    """Return why an image has no class, or no cause is told, without its name; empty if it was decided."""
    if prediction.ok:
        return level_reason(prediction)
    return without_file_name(str(prediction.detail or ""), prediction.file)


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
    if words := unseen_sentence(prediction):
        ui.label(words).classes("dim small")


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
