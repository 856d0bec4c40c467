"""The PDF report of one image: image, heat map, result in words, numbers, limits; text can be selected."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from covid_monai import __version__
from covid_monai.core.number_format import format_percent
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.dicom.elements import get_text
from covid_monai.dicom.file import read_dicom
from covid_monai.inference import wording
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.readers import read_radiograph
from covid_monai.results.pdf.layout import ReportPages
from covid_monai.results.rendering import RgbImage, render_image, render_overlay

_TITLE = "Chest radiograph: automatic classification"
_IMAGE_CAPTION = "Image as displayed"
LIMITS = (
    "The model is not validated for clinical use, and no physician has checked this result. It was trained "
    "on public collections, in which class and hospital are linked: the model may have learned to tell "
    "hospitals apart. The model knows only the classes that it was trained on: an image with the result "
    "normal may show a nodule, a pneumothorax, a fracture or anything else."
)
_HEATMAP_LIMIT = (
    "The heat map shows what influenced the model, not where disease is. It is coarse, and relative to this "
    "image."
)
_LONGEST_NAME = 100  # letters of a file's name: more would push the result off the page


def make_image_report(
    classifier: Classifier, prediction: Prediction, path: str | Path | None = None, *, made: datetime
) -> bytes:
    """Make the PDF report of an image.

    Args:
        classifier: Classifier that made the prediction.
        prediction: Prediction of any status. For a refused or unreadable image the page shows the reason.
        path: Place of the image, if not `prediction.file`, whose name the page shows.
        made: Time of making, with a time zone.

    Returns:
        A PDF file of one page.

    Raises:
        UnreadableImage: If the file was classified and cannot be read any more.
        ValueError: If the network has no layer for Grad-CAM.
    """
    path = prediction.file if path is None else path
    header = _header(path)
    facts = header_facts(header) if header else {}
    facts |= {"File": shorten_name(Path(prediction.file).name)}
    facts |= {} if header else {"Patient": "not known: no DICOM header", "View": "not known"}
    return make_page(
        prediction,
        _images(classifier, prediction, path),
        facts,
        made=made,
        uid=get_text(header, "SOPInstanceUID") if header else "",
    )


def make_page(
    prediction: Prediction,
    images: Sequence[tuple[str, RgbImage]],
    facts: Mapping[str, str],
    *,
    made: datetime,
    uid: str = "",
) -> bytes:
    """Lay out the page; same arguments and fonts give the same bytes.

    `images` are up to two images of one size, each after its caption. `facts` identify patient and image.
    `made` is the time of making, with a time zone, and `uid` the SOP Instance UID of the image.
    """
    page = ReportPages(_TITLE, made, "".join(facts.values()), several=False)
    page.add_facts({**facts, "Report made": f"{made:%Y-%m-%d}"})
    page.add_images(images)
    page.add_result(
        wording.finding(prediction), wording.result_sentences(prediction), wording.result_kind(prediction)
    )
    if prediction.ok:
        page.add_table(
            [("Class", "Probability", "Threshold", "Excluded"), *_rows(prediction)],
            (60, 40, 40, 40),
            text_align=("LEFT", "RIGHT", "RIGHT", "RIGHT"),
        )
    image = {"Image.": f"SOP Instance UID {uid}."} if uid else {}
    page.add_fine_print(dict(_fine_print(prediction)) | image)
    return bytes(page.output())


def captioned_images(prediction: Prediction, explained: ImageWithHeatmap) -> list[tuple[str, RgbImage]]:
    """Return the image, and the image with its heat map, each after its caption."""
    label = wording.class_label(wording.explained_class(prediction))
    return [
        (_IMAGE_CAPTION, render_image(explained.image)),
        (f"Heat map (Grad-CAM): evidence for {label}", render_overlay(explained)),
    ]


def model_words(model: Mapping[str, str]) -> str:
    """Return name, version and digests of the model."""
    return wording.ascii_text(
        f"{model['name']}, version {model['version']}, weights {model['weights_sha256'][:16]}, "
        f"preprocessing {model['preprocessing_digest'][:16]}, covid-monai {__version__}."
    )


def header_facts(ds: Dataset) -> dict[str, str]:
    """Return what identifies patient and study, with the values of the header."""
    return {
        "Patient": _patient_name(ds),
        "Study date": _date(get_text(ds, "StudyDate")),
        "Patient ID": get_text(ds, "PatientID"),
        "Accession no.": get_text(ds, "AccessionNumber"),
        "Born": _date(get_text(ds, "PatientBirthDate")),
        "Study": get_text(ds, "StudyDescription"),
        "Sex": get_text(ds, "PatientSex"),
        "View": " ".join(filter(None, (get_text(ds, "Modality"), get_text(ds, "ViewPosition")))),
    }


def shorten_name(name: str) -> str:
    """Return a file's name, without its middle if it is very long."""
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def _header(path: str | Path) -> Dataset | None:
    """Return the DICOM header; None for a JPEG or PNG image, or a damaged file."""
    try:
        return read_dicom(path, stop_before_pixels=True)
    except (UnreadableImage, RefusedImage):
        return None


def _images(classifier: Classifier, prediction: Prediction, path: str | Path) -> list[tuple[str, RgbImage]]:
    """Return image and heat map; only the image, if it can be read, where nothing was classified."""
    if prediction.ok:
        return captioned_images(prediction, classifier.explain(path, wording.explained_class(prediction)))
    try:
        (image,), _ = read_radiograph(path)
    except (UnreadableImage, RefusedImage):
        return []
    return [(_IMAGE_CAPTION, render_image(image))]


def _rows(prediction: Prediction) -> Iterator[tuple[str, str, str, str]]:
    if (abnormal := prediction.abnormal) is not None:
        threshold = "none" if abnormal["threshold"] is None else format_percent(abnormal["threshold"])
        excluded = "not known" if prediction.prediction_set is None else "no"
        excluded = "yes" if abnormal["call"] is False else excluded
        yield "Abnormal", wording.abnormal_percent(prediction), threshold, excluded
    thresholds, possible = (prediction.decision or {}).get("thresholds", {}), prediction.prediction_set
    for name in prediction.probabilities or {}:
        excluded = "not known" if possible is None else "no" if name in possible else "yes"
        threshold = format_percent(thresholds[name]) if name in thresholds else "none"
        yield wording.class_label(name), wording.percent(prediction, name), threshold, excluded


def _fine_print(prediction: Prediction) -> Iterator[tuple[str, str]]:
    if prediction.decision is not None:
        yield "Operating point.", wording.ascii_text(prediction.decision["rule"])
    if prediction.prediction_set is not None:
        words = "A class is excluded if it is less probable than on most validation images of that class."
        yield "Not excluded:", f"{wording.possible_classes(prediction)}. {words}"
    if prediction.source_shift is not None:
        yield "Source.", wording.ascii_text(prediction.source_shift["note"])
    if prediction.quality is not None:
        yield "Lungs.", prediction.quality["note"]
    yield "Model.", model_words(prediction.model)
    yield "Limits.", f"{LIMITS} {_HEATMAP_LIMIT}" if prediction.ok else LIMITS


def _patient_name(ds: Dataset) -> str:
    """Return the family name first; for several scripts, ideographic (alphabetic)."""
    name = PersonName(get_text(ds, "PatientName"))
    alphabetic, ideographic = (
        " ".join(filter(None, group.split("^"))) for group in (name.alphabetic, name.ideographic)
    )
    return f"{ideographic} ({alphabetic})" if ideographic and alphabetic else ideographic or alphabetic


def _date(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value
