"""Class names, outcomes and reasons: fixed words, which others store."""

import subprocess
import sys
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covid_monai.core.vocabulary import (
    DEFAULT_CLASS_NAMES,
    RESEARCH_USE,
    RESULT_DEVICE,
    DecoderNotStarted,
    RefusalReason,
    RefusedImage,
    Status,
    UnreadableImage,
    check_class_names,
)

# The last two look like a dollar sign and an at sign.
STRANGE = "$@%#:;,'\"`~!^&*=|\\<>[]{}?\t\n\r\0\x1b\x7f\xa0\u200b\u202e\ud800\uff04\uff20"


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


@pytest.mark.parametrize(
    "name",
    [
        *("normal", "COVID-19", "non-COVID", "A/B (c) +1.0", "viral_pneumonia", "1", "légère", "肺炎"),
        *("निमोनिया", "ปอดบวม", "Пневмония", "التهاب", "x" * 64),
    ],
)
def test_names_of_every_language_are_class_names(name):
    assert check_class_names(["other", name], where="here") == ("other", name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        *((f"a{sign}b", "contains") for sign in STRANGE),
        ("$__import__('os').system('x')", "contains '\\$'"),
        ("", "has no letter"),
        ("   ", "has no letter"),
        ("../..", "has no letter"),
        (" covid", "begins or ends with a space"),
        ("x" * 65, "has 65 characters"),
        (None, "is not text"),
        (1, "is not text"),
        (["covid"], "is not text"),
        ({"_target_": "os.system"}, "is not text"),
        ("other", "occurs twice"),
    ],
)
def test_any_other_class_name_is_refused_with_its_place_the_cause_and_the_way_out(name, problem):
    with pytest.raises(ValueError, match=rf"(?s)^labels.csv: the class name .*{problem}.* Rename it\.$"):
        check_class_names(["other", name], where="labels.csv", remedy="Rename it.")


@given(st.text(min_size=1, max_size=20))
def test_monai_takes_an_accepted_class_name_for_nothing_but_text(name):
    parser = pytest.importorskip("monai.bundle").ConfigParser
    try:
        (checked,) = check_class_names([name], where="here")
    except ValueError:
        return
    config = {"names": [checked], "_meta_": {"channel_def": {"0": checked}}, "alone": checked}
    assert parser(deepcopy(config)).get_parsed_content("") == config
