"""A prediction in words, the same in the report, on the heat map and on the page."""

from enum import Enum, auto

from covid_monai.core.vocabulary import Status
from covid_monai.inference.prediction import UNCERTAIN, Prediction
from covid_monai.results.dicom.codes import ascii_text, class_label


class Tone(Enum):
    """Kinds of result that must look different from each other."""

    DECIDED = auto()
    UNCERTAIN = auto()
    NO_RESULT = auto()


def tone(prediction: Prediction) -> Tone:
    """Which kind of result it is."""
    if not prediction.ok:
        return Tone.NO_RESULT
    return Tone.UNCERTAIN if is_uncertain(prediction) else Tone.DECIDED


def shown_class(prediction: Prediction) -> str:
    """The class that the heat map is of: decided at the operating point, else the most probable one.

    Raises:
        ValueError: If there is no prediction.
    """
    if not prediction.ok:
        raise ValueError("An image that was not classified has no class to show.")
    decided = (prediction.decision or {}).get("class", UNCERTAIN)
    return str(prediction.predicted_class if decided == UNCERTAIN else decided)


def finding(prediction: Prediction) -> str:
    """A few words: a class, "Uncertain", "Refused: not classified" or "Error: not classified"."""
    if not prediction.ok:
        return f"{_outcome(prediction)}: not classified"
    return "Uncertain: no class decided" if is_uncertain(prediction) else class_label(shown_class(prediction))


def is_uncertain(prediction: Prediction) -> bool:
    """Whether the classifier abstained."""
    return (prediction.decision or {}).get("class") == UNCERTAIN


def result(prediction: Prediction) -> str:
    """One or two sentences: what was decided and why."""
    if not prediction.ok:
        return (
            f"{finding(prediction)}, and in particular not normal. Reason: {reason(prediction)}. "
            f"{sentence(reason_detail(prediction))}"
        )
    probable = str(prediction.predicted_class)
    odds = f"{class_label(probable)} is the most probable class ({percent(prediction, probable)})"
    if prediction.decision is None:
        return f"{odds}. The model has no operating point, so nothing was decided."
    if is_uncertain(prediction):
        return f"{finding(prediction)}. {sentence(str(prediction.decision['reason']))} {odds}."
    decided = shown_class(prediction)
    words = f"Decision: {class_label(decided)} ({percent(prediction, decided)})"
    return f"{words}." if decided == probable else f"{words}, by its threshold; {odds}."


def sentence(words: str) -> str:
    """The same words, the first letter large, in ASCII."""
    return ascii_text(words[:1].upper() + words[1:])


def reason(prediction: Prediction) -> str:
    """Why there is no result, in a word or two: "not a chest"."""
    return str(prediction.reason).replace("_", " ")


def _outcome(prediction: Prediction) -> str:
    return "Refused" if prediction.status is Status.REFUSED else "Error"


def reason_detail(prediction: Prediction) -> str:
    """Why an image was refused, without the file's name, which may be a patient's."""
    detail = str(prediction.detail or "")
    before, _, after = detail.partition(": ")
    return ascii_text(after if before and prediction.file.endswith(before) else detail)


def percent(prediction: Prediction, class_name: str) -> str:
    """A probability with one decimal: 97.3 %."""
    return f"{(prediction.probabilities or {})[class_name]:.1%}".replace("%", " %")


def possible_classes(prediction: Prediction) -> str | None:
    """The prediction set in words; None if the model has no calibration."""
    if prediction.prediction_set is None:
        return None
    return ", ".join(map(class_label, prediction.prediction_set)) or "no class fits"
