"""Coded concepts: standard codes where there are some, private ones that differ from each other."""

from functools import partial

import pytest
from pydicom.sr.codedict import codes

from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES, RefusalReason
from covid_monai.results.dicom.codes import (
    PRIVATE_SCHEME,
    class_concept,
    measurement_concept,
    refusal_concept,
)

CONCEPTS = (
    class_concept,
    partial(measurement_concept, "Probability"),
    partial(measurement_concept, "Threshold"),
)


def test_standard_codes_are_those_of_the_published_dictionaries():
    assert (class_concept("normal").value, class_concept("normal").meaning) == (
        codes.SCT.Normal.value,
        codes.SCT.Normal.meaning,
    )
    # Not in DICOM's own context groups; SNOMED CT: 840539006 Disease caused by SARS-CoV-2 (COVID-19),
    # 233604007 Pneumonia.
    assert (class_concept("covid").value, class_concept("pneumonia").value) == ("840539006", "233604007")


OWN = ("abnormal", "норма", "a class with a very long name that goes on and on and on, longer than 64")


@pytest.mark.parametrize("name", [*DEFAULT_CLASS_NAMES, *OWN, "a/b", "x" * 14, "x" * 15, ""])
@pytest.mark.parametrize("concept", CONCEPTS)
def test_values_and_meanings_fit_into_their_elements(concept, name):
    """PS3.3 8.8: Code Value is SH (16 characters), Code Meaning is LO (64), both of ASCII here."""
    found = concept(name)
    assert 0 < len(found.value) <= 16
    assert len(found.meaning) <= 64
    assert (found.value + found.meaning).isascii()


def test_names_that_look_alike_in_ascii_get_different_codes():
    names = [*OWN, "норма ", OWN[2] + "!", "a/b", "a-b", "x" * 14, "x" * 15]
    for concept in CONCEPTS:
        assert len({concept(name).value for name in names}) == len(names)


def test_code_values_are_readable_where_the_name_allows_it():
    assert (class_concept("abnormal").value, class_concept("abnormal").meaning) == ("C-ABNORMAL", "abnormal")
    assert class_concept("abnormal").scheme_designator == PRIVATE_SCHEME
    assert class_concept("covid").scheme_designator == "SCT"
    probability, threshold = (measurement_concept(name, "covid") for name in ("Probability", "Threshold"))
    assert (probability.value, threshold.value) == ("P-COVID", "T-COVID")
    assert threshold.meaning == "Threshold of COVID-19"


@pytest.mark.parametrize("reason", RefusalReason)
def test_every_reason_of_a_refusal_has_a_code_value(reason):
    found = refusal_concept(reason)
    assert (found.value, found.scheme_designator) == (reason.upper(), PRIVATE_SCHEME)
    assert "_" not in found.meaning
    assert found.meaning[0].isupper()
    # The dictionary allows 16 characters in Code Value; longer ones are Long Code Values (PS3.3 8.1).
    assert len(found.value) <= 16 or hasattr(found, "LongCodeValue")
