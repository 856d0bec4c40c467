"""How an outcome is displayed: words, icon and colour, never the colour alone."""

from typing import NamedTuple

from nicegui import ui

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
