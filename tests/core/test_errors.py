"""Messages for people: choices, first lines, missing extras."""

from pathlib import Path

import pytest

from covid_monai.core.errors import (
    exception_chain,
    first_line,
    name_file_in_errors,
    require_extra,
    unknown_choice,
    without_file_name,
)
from covid_monai.core.vocabulary import UnreadableImage


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("first\nsecond"), "first"),
        (ValueError("  \n"), "ValueError"),
        (MemoryError(), "MemoryError"),
        (ValueError("a\x1b]0;b\x07\u202e\udcff is missing"), r"a\x1b]0;b\x07\u202e\xff is missing"),
        (ValueError("x" * 20), "xxxxxxx…"),
    ],
)
def test_first_line_is_one_short_line(error, expected):
    assert first_line(error, limit=8 if "…" in expected else 400) == expected


def test_unknown_choice_takes_any_iterable_and_names_a_close_one():
    assert unknown_choice("class", "covd", iter(("normal", "covid"))) == (
        "Unknown class 'covd'. Did you mean 'covid'? Choose one of: normal, covid."
    )


def test_a_hidden_context_ends_the_chain():
    error = KeyError("shown")
    error.__context__, error.__suppress_context__ = ValueError("hidden"), True  # as after `from None`
    assert list(exception_chain(error)) == [error]


def test_a_missing_package_names_its_extra():
    with pytest.raises(ImportError, match=r"covid-monai\[train\]"), require_extra("train"):
        import no_such_package  # noqa: F401


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("scans/a.dcm", "a.dcm: It is cut."),
        ("scans/a.dcm", "scans/a.dcm: It is cut."),
        (Path("scans/Doe: Jane.dcm"), "Doe: Jane.dcm: It is cut."),
        ("scans/a\x1b[2J.dcm", r"a\x1b[2J.dcm: It is cut."),
        ("https://pacs.example/studies/1.2", "https://pacs.example/studies/1.2: It is cut."),
        ("scans/a.dcm", "It is cut."),
    ],
)
def test_the_name_of_a_file_is_taken_from_the_message_about_it(file, told):
    assert without_file_name(told, file) == "It is cut."


def test_another_name_in_a_message_stays():
    assert without_file_name("02.dcm: It is cut.", "series/study") == "02.dcm: It is cut."
    assert without_file_name("a.dcm: frame 3: It is cut.", "a.dcm") == "frame 3: It is cut."


@pytest.mark.parametrize("name", ["a.dcm", "Doe: Jane.dcm", "a\n.dcm"])
def test_readers_within_readers_name_a_file_once(name):
    outer, inner = (name_file_in_errors(Path(folder) / name) for folder in "xy")
    with pytest.raises(UnreadableImage) as caught, outer, inner:
        raise UnreadableImage("It is cut.")
    assert str(caught.value) == f"{name}: It is cut."
