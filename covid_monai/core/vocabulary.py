"""The vocabulary of all other modules: class names, outcomes, refusal reasons.

This module imports nothing heavy, so that every module may import it.
"""

import unicodedata
from collections.abc import Iterable
from enum import StrEnum

NORMAL = "normal"
PNEUMONIA = "pneumonia"
COVID = "covid"
DEFAULT_CLASS_NAMES = (NORMAL, PNEUMONIA, COVID)
NOT_TOLD = "not told"  # replaces the class in the cause of a prediction
# What follows the class in the reason of a cause.
NOT_VALIDATED = "not validated at this hospital"
VALIDATED = "its cut was set with images of this hospital"
_CLASS_SIGNS = " _-+/()."  # allowed in a class name beside letters, their accents, and digits
_LONGEST_CLASS_NAME = 64  # of a Long String in DICOM, such as the meaning of a code

RESEARCH_USE = "Research software, not a medical device: not for diagnosis or treatment."
# Manufacturer's Model Name of our own DICOM objects. Anybody can write it, so
# `dicom.own_results` recognises them by their UIDs.
RESULT_DEVICE = "covid-monai results"


class Status(StrEnum):
    """Outcome of one file on its way to a prediction."""

    OK = "ok"
    REFUSED = "refused"  # readable, but not what the classifier is made for
    ERROR = "error"  # not readable


class RefusalReason(StrEnum):
    """Why a readable file is not one grey chest radiograph, or not one CT volume in Hounsfield units."""

    NO_PIXELS = "no_pixels"
    PRESENTATION_STATE = "presentation_state"
    REPORT = "report"
    MULTI_FRAME = "multi_frame"
    COLOUR = "colour"
    NOT_PROJECTION = "not_a_projection_radiograph"
    NOT_CHEST = "not_a_chest"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    BLANK = "blank"
    # Of a CT volume
    NOT_CT = "not_ct"
    SEVERAL_VOLUMES = "several_volumes"
    UNSOUND_GEOMETRY = "unsound_geometry"
    NOT_HOUNSFIELD = "not_hounsfield"
    # The following reasons come after reading, so that the image can be displayed: the first from the header,
    # the others from the gate of a bundle (`covid_monai.gate`).
    NOT_FRONTAL = "not_frontal"
    NOT_UPRIGHT = "not_upright"
    INVERTED = "inverted"
    UNLIKE_TRAINING = "unlike_training"
    NO_LUNGS = "no_lungs"


class RefusedImage(ValueError):
    """A readable file that the classifier is not made for.

    `reason` is the rule that refused the file; `detail` tells a person what was found and what was expected.
    """

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class DecoderNotStarted(ChildProcessError):
    """No process that decodes images can be started: a failure of this machine, never of a file."""


class UnreadableImage(ValueError):
    """A file that is missing, damaged, truncated, or in a format that is not read."""


def check_class_names(
    names: Iterable[object], *, where: str, remedy: str = "Rename the class."
) -> tuple[str, ...]:
    """Return class names in the composed form of Unicode (NFC), and refuse everything that is not a name.

    Class names stand in the configs of a bundle, where MONAI takes `$`, `@`, `%` and `#` for code, and in
    tables, reports and DICOM objects. A name has letters, digits, spaces and `_-+/().`, up to 64 in all.

    Args:
        names: Class names as a table, a datalist or a config holds them.
        where: File or setting that holds them, for the message.
        remedy: Way out, for the message.

    Raises:
        ValueError: A name is no text, is empty, is too long, has other characters, or occurs twice.

    >>> check_class_names(["COVID-19", "le\u0301gère", "肺炎"], where="datalist.json")
    ('COVID-19', 'légère', '肺炎')
    """
    checked: list[str] = []
    for name in names:
        normal = unicodedata.normalize("NFC", name) if isinstance(name, str) else ""
        problem = "is not text (in YAML, a name such as no needs quotes)"
        if isinstance(name, str):
            problem = _problem_of_class_name(normal)
        if not problem and normal in checked:
            problem = "occurs twice"
        if problem:
            shown = repr(name) if len(repr(name)) <= _LONGEST_CLASS_NAME else f"{repr(name)[:40]}…"
            raise ValueError(f"{where}: the class name {shown} {problem}. {remedy}")
        checked.append(normal)
    return tuple(checked)


def _problem_of_class_name(name: str) -> str:
    """Return what is wrong with a class name as the end of a sentence; an empty text if nothing is."""
    strange = next((sign for sign in name if not _may_be_in_class_name(sign)), None)
    if strange is not None:
        return f"contains {strange!r}. Only letters, digits, spaces and {_CLASS_SIGNS.strip()} are allowed"
    if not any(sign.isalnum() for sign in name):
        return "has no letter and no digit"
    if name != name.strip():
        return "begins or ends with a space"
    if len(name) > _LONGEST_CLASS_NAME:
        return f"has {len(name)} characters. At most {_LONGEST_CLASS_NAME} are allowed"
    return ""


def _may_be_in_class_name(sign: str) -> bool:
    category = unicodedata.category(sign)  # Lu, Ll, ... letters; Mn, Mc: accents and vowel signs; Nd: digits
    return sign in _CLASS_SIGNS or category[0] == "L" or category in ("Mn", "Mc", "Nd")
