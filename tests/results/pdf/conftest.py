"""A check for all PDF files of the tests."""

import logging

import pytest


@pytest.fixture(autouse=True)
def no_missing_glyph(caplog):
    """fpdf2 logs a warning for a letter that no font has."""
    yield
    records = caplog.get_records("call")
    assert not [each for each in records if each.levelno >= logging.WARNING and "fpdf" in each.name]
