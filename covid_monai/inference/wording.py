"""Sentences about a prediction: the same in the terminal, the report, the heat map, the PDF and on the page.

If the classifier has a class normal, they say first whether the image is abnormal, and then the cause.
"""

from enum import Enum, auto

from covid_monai.core.errors import without_file_name
from covid_monai.core.number_format import format_percent, format_probability
from covid_monai.core.vocabulary import COVID, NORMAL, NOT_TOLD, NOT_VALIDATED, PNEUMONIA, VALIDATED, Status
from covid_monai.inference.prediction import UNCERTAIN, Prediction

_CLASS_LABELS = {NORMAL: "Normal", PNEUMONIA: "Pneumonia", COVID: "COVID-19"}
MAIN_FINDINGS = ("Normal", f"Abnormal, cause {NOT_TOLD}")  # of a classifier with two levels
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


def told_cause(prediction: Prediction) -> str | None:
    """Return the class that the second level names; None if it names none."""
    name = (prediction.cause or {}).get("name", NOT_TOLD)
    return None if name == NOT_TOLD else str(name)


def is_uncertain(prediction: Prediction) -> bool:
    """Return whether nothing was decided: no class, or neither normal nor abnormal."""
    undecided = (prediction.decision or {}).get("class") == UNCERTAIN
    if prediction.abnormal is None:
        return undecided
    call = prediction.abnormal["call"]
    return call is None or (undecided and not call)


def is_abnormal(prediction: Prediction) -> bool:
    """Return whether the first level calls the image abnormal."""
    return prediction.abnormal is not None and prediction.abnormal["call"] is True


def is_validated(prediction: Prediction) -> bool:
    """Return whether the cause is named by a cut that was set with images of this hospital."""
    return VALIDATED in str((prediction.cause or {}).get("reason"))


def explained_class(prediction: Prediction) -> str:
    """Return the class that the heat map explains: the one that was decided, else the most probable one."""
    if not prediction.ok:
        raise ValueError("The image was not classified, so there is no class to explain.")
    if prediction.abnormal is not None:
        decided = NORMAL if not (is_abnormal(prediction) or is_uncertain(prediction)) else UNCERTAIN
        decided = told_cause(prediction) or decided
    else:
        decided = (prediction.decision or {}).get("class", UNCERTAIN)
    return str(prediction.predicted_class if decided == UNCERTAIN else decided)


def finding(prediction: Prediction) -> str:
    """Return the result in a few words, for example "Abnormal, cause not told".

    It is a class only where that was decided; it begins with "Uncertain", "Refused" or "Error" where nothing
    was. A cause comes after "Abnormal", and says if it is not validated at this hospital.
    """
    if prediction.status is Status.REFUSED:
        return "Refused: not classified"
    if not prediction.ok:
        return "Error: not classified"
    if is_uncertain(prediction):
        known = prediction.abnormal is not None
        return "Uncertain: normal or abnormal not decided" if known else "Uncertain: no class decided"
    if not is_abnormal(prediction):
        return class_label(explained_class(prediction))
    cause = told_cause(prediction)
    if cause is None:
        return MAIN_FINDINGS[1]
    return f"Abnormal: {class_label(cause)}" + ("" if is_validated(prediction) else f" ({NOT_VALIDATED})")


def result_sentences(prediction: Prediction) -> str:
    """Return some sentences: what was decided, why, and how often that is right elsewhere."""
    if not prediction.ok:
        return (
            f"{finding(prediction)}. This does not mean normal. Reason: {reason_words(prediction)}. "
            f"{capitalise(reason_sentence(prediction))}"
        )
    if prediction.abnormal is not None:
        parts = (level_reason(prediction), probability_words(prediction), unseen_sentence(prediction))
        return " ".join([f"{finding(prediction)}.", *filter(None, parts)])
    odds = most_probable(prediction)
    if prediction.decision is None:
        return f"{odds}. The model has no operating point, so it decides nothing."
    if is_uncertain(prediction):
        return f"{finding(prediction)}. {level_reason(prediction)} {odds}."
    decided = explained_class(prediction)
    words = f"Decision: {class_label(decided)} ({percent(prediction, decided)})"
    return (
        f"{words}."
        if decided == prediction.predicted_class
        else f"{words}, because of its threshold; {odds}."
    )


def level_reason(prediction: Prediction) -> str:
    """Return why nothing was decided or no cause is told, or what a validated cause rests on; else empty."""
    if is_abnormal(prediction):
        told = told_cause(prediction) is not None and not is_validated(prediction)
        return "" if told else capitalise(str((prediction.cause or {})["reason"]).partition(": ")[2])
    reason = str((prediction.decision or {}).get("reason") or "")
    if reason or not is_uncertain(prediction):
        return capitalise(reason)
    if prediction.prediction_set is None:
        return "The model has no calibration, so normal cannot be excluded."
    return f"Not excluded: {possible_classes(prediction)}."


def unseen_sentence(prediction: Prediction) -> str:
    """Return how often images are called abnormal on sources that the training has not seen.

    Empty if there is no first level.
    """
    if prediction.abnormal is None:
        return ""
    spans = prediction.abnormal["interval"]
    if spans is None:
        return "How often this is right in a hospital that the training has not seen was not measured."
    abnormal, normal = (
        " to ".join(format_percent(end, 0).removesuffix(" %") for end in spans[kind])
        for kind in ("sensitivity", "false_alarms")
    )
    return (
        f"On sources left out of the training, {abnormal} % of abnormal and {normal} % of normal images were "
        "called abnormal (lowest to highest end of the 95 % intervals)."
    )


def probability_words(prediction: Prediction) -> str:
    """Return the probability of abnormal and of the most probable class, or of the explained class."""
    if prediction.abnormal is None:
        name = explained_class(prediction)
        return f"Probability of {class_label(name)}: {percent(prediction, name)}."
    return f"Probability of abnormal: {abnormal_percent(prediction)}. {most_probable(prediction)}."


def abnormal_percent(prediction: Prediction) -> str:
    """Return the probability of abnormal with one decimal: "97.3 %"."""
    return format_probability((prediction.abnormal or {})["probability"])


def most_probable(prediction: Prediction) -> str:
    """Return the most probable class with its probability, as a sentence without its full stop."""
    name = str(prediction.predicted_class)
    return f"{class_label(name)} is the most probable class ({percent(prediction, name)})"


def reason_words(prediction: Prediction) -> str:
    """Return why there is no result, in a few words: "not a chest"."""
    return str(prediction.reason).replace("_", " ")


def reason_sentence(prediction: Prediction) -> str:
    """Return why there is no result, without the file's name, which may be a patient's name."""
    return ascii_text(without_file_name(str(prediction.detail or ""), prediction.file))


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
