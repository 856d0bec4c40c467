"""Numbers as people read them: rounding never makes one certain."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covid_monai.core.number_format import (
    format_count,
    format_interval,
    format_metric,
    format_percent,
    format_probability,
)


@given(st.floats(0, 1), st.integers(0, 2))
def test_only_zero_and_one_are_written_as_such(share, decimals):
    text = format_percent(share, decimals)
    assert not re.fullmatch(r"0(\.0+)? %|100\.0+ %", text) or share == 0
    assert (text == "100 %") == (share == 1)


@given(st.floats(0, 1))
def test_a_probability_is_never_certain(probability):
    assert format_probability(probability) not in {"0 %", "100 %", "0.0 %", "100.0 %"}


@given(st.floats(0, 1))
def test_a_metric_has_three_decimals_and_is_not_rounded_to_certainty(value):
    text = format_metric(value)
    assert re.fullmatch(r"([<>] )?\d\.\d{3}", text)
    assert (text == "1.000") == (value == 1)
    assert (text == "0.000") == (value == 0)


@pytest.mark.parametrize(
    ("share", "decimals", "text"),
    [(0.9995, 1, "> 99.9 %"), (0.0005, 1, "< 0.1 %"), (0.995, 0, "> 99 %"), (0.5, 0, "50 %")],
)
def test_limits_of_rounding(share, decimals, text):
    assert format_percent(share, decimals) == text


def test_undefined_values_and_numpy_numbers():
    assert format_metric(None) == format_percent(None) == "not defined"
    assert format_interval({"value": 1.0, "low": None, "high": None}) == "no interval"
    assert format_metric(np.float64(0.25)) == "0.250"


def test_counts_take_the_plural():
    assert [format_count(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert [format_count(n, "CUDA device") for n in (0, 1)] == ["0 CUDA devices", "1 CUDA device"]
