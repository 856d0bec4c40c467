"""Messages for people: choices, first lines, missing extras."""

import pytest

from covid_monai.core.errors import exception_chain, first_line, require_extra, unknown_choice


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
