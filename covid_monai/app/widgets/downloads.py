"""The files that a visitor can download for an image: PDF, JSON, DICOM report and heat map."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import NamedTuple

from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.api.uploads import Upload
from covid_monai.app.session import ServedModel
from covid_monai.app.widgets.elements import button, heading, warn
from covid_monai.core.vocabulary import Status, UnreadableImage
from covid_monai.inference.prediction import Prediction
from covid_monai.results.dicom.source_radiograph import NoResultObjects


class Download(NamedTuple):
    """A file to save.

    Args:
        name: File name.
        data: Content.
        media_type: Media type.
    """

    name: str
    data: bytes
    media_type: str


def download_card(model: ServedModel, upload: Upload, prediction: Prediction) -> None:
    """Show one button for each file that can be made, and explain why some are missing.

    Args:
        model: Model that made the prediction.
        upload: Image.
        prediction: Prediction for the image.
    """
    is_dicom = prediction.status is not Status.ERROR and not upload.data.startswith(
        (b"\xff\xd8\xff", b"\x89PNG")
    )
    with ui.element("section").classes("card").props("aria-label=Downloads"):
        heading("Downloads")
        with ui.row().classes("downloads"):
            _button("PDF report", "picture_as_pdf", lambda: pdf_report(model, upload, prediction))
            _button("JSON", "data_object", lambda: json_record(upload, prediction))
            if is_dicom:
                _button("DICOM SR", "description", lambda: dicom_object(model, upload, prediction, "report"))
            if is_dicom and prediction.ok:
                _button(
                    "Secondary Capture", "image", lambda: dicom_object(model, upload, prediction, "heatmap")
                )
        if not is_dicom:
            words = (
                "DICOM SR and Secondary Capture belong to a study, so they are made for DICOM images only."
            )
            ui.label(words).classes("dim small")


def _button(words: str, icon: str, make: Callable[[], Download]) -> None:
    async def save() -> None:
        made_by.props("loading")
        try:
            made = await asyncio.to_thread(make)
            ui.download.content(made.data, made.name, made.media_type)
        except (Busy, NoResultObjects, UnreadableImage) as error:
            warn(str(error))
        finally:
            made_by.props(remove="loading")

    made_by = button(words, icon).on_click(save)


def pdf_report(model: ServedModel, upload: Upload, prediction: Prediction) -> Download:
    """Make the PDF report."""
    data = model.engine.pdf_report(upload, prediction)
    return Download(_file_name(upload, "pdf"), data, "application/pdf")


def json_record(upload: Upload, prediction: Prediction) -> Download:
    """Make the record of `covid-monai predict --json`."""
    text = json.dumps(prediction.to_json(), indent=2, ensure_ascii=False)
    return Download(_file_name(upload, "json"), text.encode(), "application/json")


def dicom_object(model: ServedModel, upload: Upload, prediction: Prediction, kind: str) -> Download:
    """Make one DICOM object.

    Args:
        model: Model that made the prediction.
        upload: DICOM image.
        prediction: Prediction for the image.
        kind: Kind of object: report or heatmap.

    Raises:
        NoResultObjects: If the image has no such object.
    """
    for made in model.engine.dicom_objects(upload, prediction, heatmap=kind == "heatmap"):
        if made.kind == kind:
            return Download(made.name, made.data, "application/dicom")
    raise NoResultObjects(
        "no radiograph", f"{upload.name} holds no radiograph, so no DICOM report can refer to it."
    )


def _file_name(upload: Upload, suffix: str) -> str:
    """Return a name that differs between images and contains no name of a patient."""
    return f"covid-monai-{hashlib.sha256(upload.data).hexdigest()[:10]}.{suffix}"
