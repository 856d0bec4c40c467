"""Coded concepts of the report: SNOMED CT and DICOM where they have one, else the scheme 99COVIDMONAI."""

import hashlib
import re

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept

from covid_monai.core.vocabulary import COVID, NORMAL, PNEUMONIA
from covid_monai.inference.wording import class_label

PRIVATE_SCHEME = "99COVIDMONAI"
CODING_SCHEME = CodingSchemeIdentificationItem(
    designator=PRIVATE_SCHEME,
    name="covid_monai result codes",
    version="1",
    responsible_organization="covid_monai, see docs/dicom-results.md",
)
_SNOMED_CODES = {NORMAL: "17621005", PNEUMONIA: "233604007", COVID: "840539006"}

PLAIN_CHEST_IMAGE = CodedConcept("399208008", "SCT", "Plain chest X-ray")


def private_concept(value: str, meaning: str) -> CodedConcept:
    """Return a concept of the private scheme."""
    return CodedConcept(value, PRIVATE_SCHEME, meaning)


CLASS = private_concept("CLASS", "Class")
NO_CLASS_FITS = private_concept("NO-CLASS-FITS", "No class fits")
NOT_EXCLUDED = private_concept("NOT-EXCLUDED", "Class that cannot be excluded")
MOST_PROBABLE = private_concept("MOST-PROBABLE", "Most probable class")
AT_OPERATING_POINT = private_concept("AT-POINT", "Class at the operating point")
ABNORMAL_PROBABILITY = private_concept("ABNORMAL-P", "Probability of abnormal")
ABNORMAL_THRESHOLD = private_concept("ABNORMAL-T", "Threshold of abnormal")
CAUSE = private_concept("CAUSE", "Cause of abnormal")
CAUSE_NOT_TOLD = private_concept("NOT-TOLD", "Cause not told")
CAUSE_ODDS = private_concept("CAUSE-ODDS", "Log odds of the likeliest cause against normal")
CAUSE_CUT = private_concept("CAUSE-CUT", "Log odds from which the cause is told")
VALIDITY = private_concept("VALIDITY", "Validity of the cause")
VALIDATED = private_concept("VALIDATED", "Cut set with images of this hospital")
NOT_VALIDATED = private_concept("NOT-VALIDATED", "Not validated at this hospital")
REFUSAL_REASON = private_concept("REFUSAL-REASON", "Reason for refusal")
RESULT = private_concept("RESULT", "Result in words")
RULE = private_concept("RULE", "Decision rule")
NOTICE = private_concept("NOTICE", "Research use statement")


def class_concept(class_name: str) -> CodedConcept:
    """Return the code of a class: SNOMED CT for the classes of the shipped bundle, else a private code."""
    if class_name in _SNOMED_CODES:
        return CodedConcept(_SNOMED_CODES[class_name], "SCT", class_label(class_name))
    return private_concept(f"C-{_code_stem(class_name)}", class_label(class_name))


def measurement_concept(quantity: str, class_name: str) -> CodedConcept:
    """Return the name of a measurement of a class; `quantity` is "Probability" or "Threshold"."""
    meaning = f"{quantity} of {class_label(class_name)}"[:64]
    return private_concept(f"{quantity[0]}-{_code_stem(class_name)}", meaning)


def refusal_concept(reason: str) -> CodedConcept:
    """Return a `RefusalReason` as a code."""
    return private_concept(reason.upper(), reason.replace("_", " ").capitalize())


def _code_stem(class_name: str) -> str:
    """Return the part of a code value that tells classes apart; a code value has 16 characters at most."""
    plain = class_name.upper()
    if re.fullmatch(r"[A-Z0-9_-]{1,14}", plain):
        return plain
    return hashlib.sha256(class_name.encode()).hexdigest()[:14].upper()
