"""One page for a person, as PDF with text to select: image, heat map, result in words, numbers, limits."""

from collections.abc import Iterator, Mapping, Sequence

from covid_monai import __version__
from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.inference.grad_cam import ImageHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.results.dicom.codes import ascii_text, class_label
from covid_monai.results.pdf.fonts import fallback_fonts, spell_out
from covid_monai.results.pdf.page_layout import Page
from covid_monai.results.rendering import Picture, image_picture, overlay
from covid_monai.results.wording import finding, percent, possible_classes, result, shown_class, tone

_TITLE = "Chest radiograph: automatic classification"
_NO_PICTURE = "There is no image to show."
LIMITS = (
    "Not validated for clinical use, and not checked by a physician. Trained on public collections, where "
    "class and hospital go together: the model may have learned to tell hospitals apart.",
    "It knows the classes that it was trained on and nothing else: an image called normal may show a nodule, "
    "a pneumothorax, a fracture or anything else.",
)
_HEATMAP_LIMIT = (
    "The heat map tells what moved the model, not where disease is. It is coarse, and relative to this image."
)
LETTERS = ("Letters.", "No font here has the letters written as [U+...]: their Unicode numbers.")


def page(
    prediction: Prediction,
    pictures: Sequence[tuple[str, Picture]],
    facts: Mapping[str, str],
    *,
    date: str,
    uid: str = "",
) -> bytes:
    """Lay out the page.

    Args:
        prediction: Of any status; what was refused or could not be read gets its reason and no number.
        pictures: Up to two of one size, each after what it shows; as `explained_pictures`.
        facts: Names and values that tell whose image it is.
        date: When the document says that it was made, `YYYYMMDD`.
        uid: The image's SOP Instance UID, if it has one.

    Returns:
        A PDF file; same arguments and fonts, same bytes.
    """
    fonts = fallback_fonts("".join(facts.values()))
    shown = {name: spell_out(value, fonts) for name, value in facts.items()}
    pdf = Page(_TITLE, RESEARCH_USE, date, fonts)
    pdf.heading(_TITLE, RESEARCH_USE)
    pdf.facts(shown)
    if pictures:
        pdf.pictures(pictures)
    else:
        pdf.note(_NO_PICTURE)
    pdf.result(finding(prediction), result(prediction), tone(prediction))
    if prediction.ok:
        pdf.numbers(("Class", "Probability", "Threshold", "Can be excluded"), _rows(prediction))
    pdf.small(_fine_print(prediction))
    if uid:
        pdf.small([("Image.", f"SOP Instance UID {uid}.")])
    if any("[U+" in value for value in shown.values()):
        pdf.small([LETTERS])
    return bytes(pdf.output())


def explained_pictures(prediction: Prediction, explained: ImageHeatmap) -> list[tuple[str, Picture]]:
    """The image, and the heat map of the class that is shown over it, each after what it shows."""
    label = class_label(shown_class(prediction))
    return [
        ("Image as displayed", image_picture(explained.image)),
        (f"Heat map (Grad-CAM): evidence for {label}", overlay(explained)),
    ]


def model_words(model: Mapping[str, str]) -> str:
    """Which model it was, by name, version and digests."""
    return ascii_text(
        f"{model['name']}, version {model['version']}, weights {model['weights_sha256'][:16]}, "
        f"preprocessing {model['preprocessing_digest'][:16]}, covid-monai {__version__}."
    )


def _rows(prediction: Prediction) -> Iterator[tuple[str, str, str, str]]:
    thresholds, possible = (prediction.decision or {}).get("thresholds", {}), prediction.prediction_set
    for name in prediction.probabilities or {}:
        excluded = "not known" if possible is None else "no" if name in possible else "yes"
        threshold = f"{thresholds[name]:.1%}".replace("%", " %") if name in thresholds else "none"
        yield class_label(name), percent(prediction, name), threshold, excluded


def _fine_print(prediction: Prediction) -> Iterator[tuple[str, str]]:
    if prediction.decision is not None:
        yield "Operating point.", ascii_text(prediction.decision["rule"])
    if possible_classes(prediction) is not None:
        words = "A class is excluded if it is less probable than on most validation images of that class."
        yield "Not excluded:", f"{possible_classes(prediction)}. {words}"
    yield "Model.", model_words(prediction.model)
    yield "Limits.", " ".join((*LIMITS, _HEATMAP_LIMIT) if prediction.ok else LIMITS)
