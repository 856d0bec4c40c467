"""One page for a person, as PDF with text to select: film, heat map, result in words, numbers, limits."""

from collections.abc import Iterator

from pydicom.dataset import Dataset

from covid_monai import __version__
from covid_monai.inference.heatmap import FilmHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.readers.elements import text
from covid_monai.results.codes import ascii_text, class_label
from covid_monai.results.fonts import fallback_fonts, spell_out
from covid_monai.results.page_layout import Page
from covid_monai.results.picture import film_picture, overlay
from covid_monai.results.source import Source
from covid_monai.results.wording import finding, percent, possible_classes, result, shown_class
from covid_monai.vocabulary import RESEARCH_USE

_TITLE = "Chest radiograph: automatic classification"
LIMITS = (
    "Not validated for clinical use, and not checked by a physician. Trained on public collections, where "
    "class and hospital go together: the model may have learned to tell hospitals apart.",
    "It knows the classes above and nothing else. A film called normal may show a nodule, a pneumothorax, a "
    "fracture or anything else.",
    "The heat map tells what moved the model, not where disease is. It is coarse, and relative to this film.",
)


def page(prediction: Prediction, explained: FilmHeatmap, source: Source) -> bytes:
    """Lay out the page.

    Args:
        prediction: With status ok.
        explained: Film and heat map of the class that is shown.
        source: Whose header names the patient.

    Returns:
        A PDF file; same arguments and fonts, same bytes.
    """
    facts = _facts(source.ds)
    words = "".join(facts.values())
    fonts = fallback_fonts(words)
    shown = {name: spell_out(value, fonts) for name, value in facts.items()}
    label = class_label(shown_class(prediction))
    pdf = Page(_TITLE, RESEARCH_USE, source.date, fonts)
    pdf.heading(_TITLE, RESEARCH_USE)
    pdf.facts(shown)
    pdf.pictures(
        ("Film as displayed", film_picture(explained)),
        (f"Heat map (Grad-CAM): evidence for {label}", overlay(explained)),
    )
    pdf.result(finding(prediction), result(prediction))
    pdf.numbers(("Class", "Probability", "Threshold", "Can be excluded"), _rows(prediction))
    pdf.small(_fine_print(prediction, source, complete=all(shown[name] == facts[name] for name in facts)))
    return bytes(pdf.output())


def _rows(prediction: Prediction) -> Iterator[tuple[str, str, str, str]]:
    thresholds, possible = (prediction.decision or {}).get("thresholds", {}), prediction.prediction_set
    for name in prediction.probabilities or {}:
        excluded = "not known" if possible is None else "no" if name in possible else "yes"
        threshold = f"{thresholds[name]:.1%}".replace("%", " %") if name in thresholds else "none"
        yield class_label(name), percent(prediction, name), threshold, excluded


def _fine_print(prediction: Prediction, source: Source, *, complete: bool) -> Iterator[tuple[str, str]]:
    if prediction.decision is not None:
        yield "Operating point.", ascii_text(prediction.decision["rule"])
    if possible_classes(prediction) is not None:
        words = "A class is excluded if it is less probable than on most validation films of that class."
        yield "Not excluded:", f"{possible_classes(prediction)}. {words}"
    model = prediction.model
    yield (
        "Model.",
        ascii_text(
            f"{model['name']}, version {model['version']}, weights {model['weights_sha256'][:16]}, "
            f"preprocessing {model['preprocessing_digest'][:16]}, covid-monai {__version__}."
        ),
    )
    yield "Limits.", " ".join(LIMITS)
    yield "Film.", f"SOP Instance UID {source.reference.SOPInstanceUID}."
    if not complete:
        yield "Letters.", "No font here has the letters written as [U+...]: their Unicode numbers."


def _facts(ds: Dataset) -> dict[str, str]:
    """What tells whose film it is; values as they stand in the header, an even number of them."""
    return {
        "Patient": _name(ds),
        "Study date": _date(text(ds, "StudyDate")),
        "Patient ID": text(ds, "PatientID"),
        "Accession no.": text(ds, "AccessionNumber"),
        "Born": _date(text(ds, "PatientBirthDate")),
        "Study": text(ds, "StudyDescription"),
        "Sex": text(ds, "PatientSex"),
        "View": " ".join(filter(None, (text(ds, "Modality"), text(ds, "ViewPosition")))),
    }


def _name(ds: Dataset) -> str:
    """Family name first; where there are several scripts, ideographic (alphabetic).

    PS3.5 6.2.1.1: alphabetic=ideographic=phonetic, each family^given^middle^prefix^suffix.
    """
    alphabetic, ideographic, *_ = (*text(ds, "PatientName").split("="), "")
    alphabetic, ideographic = (
        " ".join(part for part in name.split("^") if part) for name in (alphabetic, ideographic)
    )
    return f"{ideographic} ({alphabetic})" if ideographic and alphabetic else ideographic or alphabetic


def _date(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value
