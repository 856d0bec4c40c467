"""Sentences about a prediction: the same in the report, on the heat map, in the PDF and on the page."""

from enum import Enum, auto

from covid_monai.core.number_format import format_probability
from covid_monai.core.vocabulary import COVID, NORMAL, PNEUMONIA, Status
from covid_monai.inference.prediction import UNCERTAIN, Prediction

_CLASS_LABELS = {NORMAL: "Normal", PNEUMONIA: "Pneumonia", COVID: "COVID-19"}
_LONGEST_LABEL = 64  # letters: the most that a Code Meaning holds (PS3.5 6.2, VR LO)


class ResultKind(Enum):
    """Kinds of result that must look different from each other."""

    DECIDED = auto()
    UNCERTAIN = auto()
    NO_RESULT = auto()


def result_kind(prediction: Prediction) -> ResultKind:
    """Return whether a class was decided, the result is uncertain, or there is no result."""
    if not prediction.ok:
        return ResultKind.NO_RESULT
    return ResultKind.UNCERTAIN if is_uncertain(prediction) else ResultKind.DECIDED


def explained_class(prediction: Prediction) -> str:
    """Return the class that the heat map explains: the decided class, else the most probable one."""
    if not prediction.ok:
        raise ValueError("The image was not classified, so there is no class to explain.")
    decided = (prediction.decision or {}).get("class", UNCERTAIN)
    return str(prediction.predicted_class if decided == UNCERTAIN else decided)


def finding(prediction: Prediction) -> str:
    """Return a class, "Uncertain: no class decided", "Refused: not classified" or "Error: not classified"."""
    if prediction.status is Status.REFUSED:
        return "Refused: not classified"
    if not prediction.ok:
        return "Error: not classified"
    if is_uncertain(prediction):
        return "Uncertain: no class decided"
    return class_label(explained_class(prediction))


def is_uncertain(prediction: Prediction) -> bool:
    """Return whether the classifier decided no class."""
    return (prediction.decision or {}).get("class") == UNCERTAIN


def result_sentences(prediction: Prediction) -> str:
    """Return one to three sentences: what was decided and why."""
    if not prediction.ok:
        return (
            f"{finding(prediction)}. This does not mean normal. Reason: {reason_words(prediction)}. "
            f"{capitalise(reason_sentence(prediction))}"
        )
    probable = str(prediction.predicted_class)
    odds = f"{class_label(probable)} is the most probable class ({percent(prediction, probable)})"
    if prediction.decision is None:
        return f"{odds}. The model has no operating point, so it decides nothing."
    if is_uncertain(prediction):
        return f"{finding(prediction)}. {capitalise(str(prediction.decision['reason']))} {odds}."
    decided = explained_class(prediction)
    words = f"Decision: {class_label(decided)} ({percent(prediction, decided)})"
    return f"{words}." if decided == probable else f"{words}, because of its threshold; {odds}."


def reason_words(prediction: Prediction) -> str:
    """Return why there is no result, in a few words: "not a chest"."""
    return str(prediction.reason).replace("_", " ")


def reason_sentence(prediction: Prediction) -> str:
    """Return why there is no result, without the file's name, which may be a patient's name."""
    detail = str(prediction.detail or "")
    before, _, after = detail.partition(": ")
    return ascii_text(after if before and prediction.file.endswith(before) else detail)


def percent(prediction: Prediction, class_name: str) -> str:
    """Return the probability of a class with one decimal: "97.3 %"."""
    return format_probability((prediction.probabilities or {})[class_name])


def possible_classes(prediction: Prediction) -> str:
    """Return the prediction set in words; "not known" if the model has no calibration."""
    if prediction.prediction_set is None:
        return "not known"
    return ", ".join(map(class_label, prediction.prediction_set)) or "no class fits"


def class_label(class_name: str) -> str:
    """Return a class name for people, in ASCII: every DICOM character set contains it."""
    return _CLASS_LABELS.get(class_name) or ascii_text(class_name)[:_LONGEST_LABEL]


def capitalise(words: str) -> str:
    """Return the words in ASCII with a capital first letter."""
    return ascii_text(words[:1].upper() + words[1:])


def ascii_text(words: str) -> str:
    """Return text that every DICOM character set contains: other letters are written as U+00E9.

    >>> ascii_text("é_1")
    'U+00E9_1'
    """
    # A backslash separates values (PS3.5 6.1.2.3).
    kept = (letter if " " <= letter <= "~" and letter != "\\" else f"U+{ord(letter):04X}" for letter in words)
    return "".join(kept)
