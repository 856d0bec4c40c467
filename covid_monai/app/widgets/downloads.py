"""The files that a visitor can download for an image: PDF, JSON, DICOM report and heat map."""

import asyncio
import hashlib
import json
from collections.abc import Callable

from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.api.uploads import Upload
from covid_monai.app.session import ServedModel
from covid_monai.app.widgets.elements import button, card, warn
from covid_monai.core.vocabulary import Status, UnreadableImage
from covid_monai.inference.prediction import Prediction
from covid_monai.results.dicom.source_radiograph import NoResultObjects

Download = tuple[str, bytes, str]  # file name, content, media type


def download_card(model: ServedModel, upload: Upload, prediction: Prediction) -> None:
    """Show one button for each file that can be made, and explain why some are missing."""
    # The name differs between images, and contains no name of a patient.
    stem = f"covid-monai-{hashlib.sha256(upload.data).hexdigest()[:10]}"
    is_dicom = prediction.status is not Status.ERROR and not upload.data.startswith(
        (b"\xff\xd8\xff", b"\x89PNG")
    )

    def pdf_report() -> Download:
        return f"{stem}.pdf", model.engine.pdf_report(upload, prediction), "application/pdf"

    def json_record() -> Download:
        text = json.dumps(prediction.to_json(), indent=2, ensure_ascii=False)
        return f"{stem}.json", text.encode(), "application/json"

    def dicom_object(*, heatmap: bool) -> Download:
        made = model.engine.dicom_object(upload, prediction, heatmap=heatmap)
        return made.name, made.data, "application/dicom"

    with card("Downloads"):
        with ui.row().classes("downloads"):
            _button("PDF report", "picture_as_pdf", pdf_report)
            _button("JSON", "data_object", json_record)
            if is_dicom:
                _button("DICOM SR", "description", lambda: dicom_object(heatmap=False))
            if is_dicom and prediction.ok:
                _button("Secondary Capture", "image", lambda: dicom_object(heatmap=True))
        if not is_dicom:
            words = (
                "DICOM SR and Secondary Capture belong to a study, so they are made for DICOM images only."
            )
            ui.label(words).classes("dim small")


def _button(words: str, icon: str, make: Callable[[], Download]) -> None:
    async def save() -> None:
        shown.props("loading")
        try:
            name, data, media_type = await asyncio.to_thread(make)
            ui.download.content(data, name, media_type)
        except (Busy, NoResultObjects, UnreadableImage) as error:
            warn(str(error))
        finally:
            shown.props(remove="loading")

    shown = button(words, icon).on_click(save)
