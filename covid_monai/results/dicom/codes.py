"""Coded concepts of the report: SNOMED CT and DICOM where they have one, else the scheme 99COVIDMONAI."""

import hashlib
import re

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept

from covid_monai.core.vocabulary import COVID, NORMAL, PNEUMONIA

PRIVATE_SCHEME = "99COVIDMONAI"
CODING_SCHEME = CodingSchemeIdentificationItem(
    designator=PRIVATE_SCHEME,
    name="covid_monai result codes",
    version="1",
    responsible_organization="covid_monai, see docs/dicom-results.md",
)
_CLASS_CODES = {
    NORMAL: ("17621005", "Normal"),
    PNEUMONIA: ("233604007", "Pneumonia"),
    COVID: ("840539006", "COVID-19"),
}

PLAIN_CHEST_IMAGE = CodedConcept("399208008", "SCT", "Plain chest X-ray")


def private(value: str, meaning: str) -> CodedConcept:
    """A concept of our own scheme."""
    return CodedConcept(value, PRIVATE_SCHEME, meaning)


CLASS = private("CLASS", "Class")
NO_CLASS_FITS = private("NO-CLASS-FITS", "No class fits")
NOT_EXCLUDED = private("NOT-EXCLUDED", "Class that cannot be excluded")
MOST_PROBABLE = private("MOST-PROBABLE", "Most probable class")
AT_OPERATING_POINT = private("AT-POINT", "Class at the operating point")
REFUSAL_REASON = private("REFUSAL-REASON", "Reason for refusal")
RESULT = private("RESULT", "Result in words")
RULE = private("RULE", "Decision rule")
NOTICE = private("NOTICE", "Research use statement")


def class_concept(class_name: str) -> CodedConcept:
    """The code of a class: SNOMED CT for the three of the shipped bundle, else a private one."""
    if class_name in _CLASS_CODES:
        value, meaning = _CLASS_CODES[class_name]
        return CodedConcept(value, "SCT", meaning)
    return private(f"C-{_stem(class_name)}", class_label(class_name))


def probability_of(class_name: str) -> CodedConcept:
    """Name of the measurement of a class's probability."""
    return private(f"P-{_stem(class_name)}", f"Probability of {class_label(class_name)}"[:64])


def threshold_of(class_name: str) -> CodedConcept:
    """Name of the measurement of a class's threshold."""
    return private(f"T-{_stem(class_name)}", f"Threshold of {class_label(class_name)}"[:64])


def refusal(reason: str) -> CodedConcept:
    """A `RefusalReason` as a code."""
    return private(reason.upper(), reason.replace("_", " ").capitalize())


def class_label(class_name: str) -> str:
    """A class for a person to read, in ASCII, as the report is in the character set of its radiograph."""
    if class_name in _CLASS_CODES:
        return _CLASS_CODES[class_name][1]
    return ascii_text(class_name)[:64]


def ascii_text(words: str) -> str:
    """Text that every DICOM character set holds: what is not ASCII is written as U+0041.

    >>> ascii_text("é_1")
    'U+00E9_1'
    """
    # A backslash separates values (PS3.5 6.1.2.3).
    kept = (letter if " " <= letter <= "~" and letter != "\\" else f"U+{ord(letter):04X}" for letter in words)
    return "".join(kept)


def _stem(class_name: str) -> str:
    """Part of a code value that tells classes apart; a code value has 16 characters at most."""
    plain = class_name.upper()
    if re.fullmatch(r"[A-Z0-9_-]{1,14}", plain):
        return plain
    return hashlib.sha256(class_name.encode()).hexdigest()[:14].upper()
