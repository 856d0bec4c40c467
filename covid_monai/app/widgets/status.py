"""How an outcome looks: words, icon and colour, never the colour alone."""

from typing import NamedTuple

from covid_monai.core.vocabulary import NORMAL, Status
from covid_monai.inference.prediction import UNCERTAIN, Prediction


class Look(NamedTuple):
    """How one outcome is shown.

    Args:
        kind: normal, finding, not-called, uncertain, refused or error: the CSS class is `outcome-` and this.
        words: One or two words, the same wherever the outcome is shown.
        icon: Name of a Material icon.
        meaning: One sentence.
    """

    kind: str
    words: str
    icon: str
    meaning: str


REFUSED = Look("refused", "Refused", "block", "Not classified, and in particular not normal: see the reason.")
ERROR = Look("error", "Error", "broken_image", "Could not be read or computed; nothing was classified.")


def look_of(prediction: Prediction) -> Look:
    """How a prediction is shown, at the bundle's own operating point."""
    if prediction.status is Status.REFUSED:
        return REFUSED
    if prediction.status is Status.ERROR:
        return ERROR
    decided = str((prediction.decision or {}).get("class", prediction.predicted_class))
    return look_of_class(decided)


def look_of_class(decided: str) -> Look:
    """How a decision is shown.

    Args:
        decided: A class name, or "uncertain".
    """
    if decided == UNCERTAIN:
        return Look(
            "uncertain", "Uncertain", "help", "The model does not decide: several classes, or none, fit."
        )
    if decided == NORMAL:
        meaning = "Called normal. That excludes nothing that the model does not know."
        return Look("normal", "Normal", "check_circle", meaning)
    return Look("finding", label(decided), "warning", "A class of the model, not a diagnosis.")


def look_of_not_called(class_name: str) -> Look:
    """How an image is shown that an operating point for one class does not call so."""
    words = f"Not called {label(class_name)}"
    return Look("not-called", words, "remove_circle", f"{words}: nothing is said of the other classes.")


def label(class_name: str) -> str:
    """A class for a person to read."""
    known = {"normal": "Normal", "pneumonia": "Pneumonia", "covid": "COVID-19"}
    return known.get(class_name, class_name)


LEGEND = (
    look_of_class(NORMAL),
    Look("finding", "Pneumonia, COVID-19 …", "warning", "A class of the model, not a diagnosis."),
    look_of_class(UNCERTAIN),
    REFUSED,
    ERROR,
)
