"""What a visitor takes away of one image: PDF, JSON, DICOM report and heat map, made in memory."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import NamedTuple

from nicegui import ui

from covid_monai.api.engine import Busy
from covid_monai.app.desk import Model
from covid_monai.app.visit import VisitedImage
from covid_monai.app.widgets.badge import heading
from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.results.dicom.source_radiograph import NoResultObjects


class Made(NamedTuple):
    """A file to save."""

    name: str
    data: bytes
    media_type: str


def download_card(model: Model, image: VisitedImage) -> None:
    """One button a file; those that cannot be made are left out, and it is said why."""
    with ui.element("section").classes("card").props("aria-label=Downloads"):
        heading("Take away")
        with ui.row().classes("downloads"):
            _button("PDF report", "picture_as_pdf", lambda: pdf(model, image))
            _button("JSON", "data_object", lambda: record(image))
            if image.is_dicom:
                _button("DICOM SR", "description", lambda: dicom(model, image, "report"))
            if image.is_dicom and image.prediction.ok:
                _button("Secondary Capture", "image", lambda: dicom(model, image, "heatmap"))
        if not image.is_dicom:
            words = "DICOM SR and Secondary Capture belong to a study: they are made for DICOM images only."
            ui.label(words).classes("dim small")


def _button(words: str, icon: str, make: Callable[[], Made]) -> None:
    async def save() -> None:
        button.props("loading")
        try:
            made = await asyncio.to_thread(make)
            ui.download.content(made.data, made.name, made.media_type)
        except (Busy, NoResultObjects, UnreadableImage) as error:
            ui.notify(str(error), type="warning", close_button="Close", timeout=0)
        finally:
            button.props(remove="loading")

    button = ui.button(words, icon=icon, on_click=save).props("outline no-caps")


def pdf(model: Model, image: VisitedImage) -> Made:
    """The page for a physician."""
    return Made(_name(image, "pdf"), model.engine.page_pdf(image.upload, image.prediction), "application/pdf")


def record(image: VisitedImage) -> Made:
    """The record of `covid-monai predict --json`."""
    text = json.dumps(image.prediction.to_json(), indent=2, ensure_ascii=False)
    return Made(_name(image, "json"), text.encode(), "application/json")


def dicom(model: Model, image: VisitedImage, kind: str) -> Made:
    """One of the DICOM objects.

    Args:
        model: Who made the prediction.
        image: A DICOM image.
        kind: report or heatmap.

    Raises:
        NoResultObjects: If there is none for this image.
    """
    objects = model.engine.dicom_objects(image.upload, image.prediction, heatmap=kind == "heatmap")
    for made in objects:
        if made.kind == kind:
            return Made(made.name, made.data, "application/dicom")
    raise NoResultObjects(
        "no radiograph", f"{image.upload.name}: no radiograph that a report could be about."
    )


def _name(image: VisitedImage, suffix: str) -> str:
    """Tells images apart and names nobody."""
    return f"covid-monai-{hashlib.sha256(image.upload.data).hexdigest()[:10]}.{suffix}"
