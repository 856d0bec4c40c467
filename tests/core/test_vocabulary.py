"""Class names, outcomes and reasons: fixed words, which others store."""

import subprocess
import sys

import pytest

from covid_monai.core.vocabulary import (
    DEFAULT_CLASS_NAMES,
    RESEARCH_USE,
    RESULT_DEVICE,
    DecoderNotStarted,
    RefusalReason,
    RefusedImage,
    Status,
    UnreadableImage,
)


def test_words_that_others_store_are_those_of_the_documentation():
    assert DEFAULT_CLASS_NAMES == ("normal", "pneumonia", "covid")
    assert [str(status) for status in Status] == ["ok", "refused", "error"]
    assert "not a medical device" in RESEARCH_USE
    assert len(RESULT_DEVICE) <= 64  # Manufacturer's Model Name is LO


@pytest.mark.parametrize("reason", RefusalReason)
def test_a_reason_is_one_plain_word_and_a_code_of_dicom_could_hold_it(reason):
    assert reason.value.replace("_", "").isalpha()
    assert reason.value == reason.value.lower()
    assert RefusalReason(reason.value) is reason


def test_a_refusal_has_its_reason_and_its_sentence():
    refusal = RefusedImage(RefusalReason.BLANK, "a.png: all pixels are 0.")
    assert (refusal.reason, refusal.detail, str(refusal)) == (
        RefusalReason.BLANK,
        "a.png: all pixels are 0.",
        "a.png: all pixels are 0.",
    )


def test_what_is_wrong_with_a_file_and_with_the_machine_are_told_apart():
    assert issubclass(RefusedImage, ValueError)
    assert issubclass(UnreadableImage, ValueError)
    assert not issubclass(DecoderNotStarted, ValueError)
    assert not issubclass(RefusedImage, UnreadableImage)


def test_the_vocabulary_imports_nothing_heavy():
    code = "import sys, covid_monai.core.vocabulary; print(sorted(sys.modules.keys() & set(sys.argv[1:])))"
    heavy = ["numpy", "torch", "monai", "pydicom", "PIL", "typer"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
