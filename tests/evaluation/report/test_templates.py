"""A template fails on a missing value, escapes HTML in a page only, and writes numbers in one format."""

import pytest
from jinja2 import UndefinedError

from covid_monai.evaluation.report.templates import render_template, render_text, with_interval


def test_missing_value_raises_an_error():
    with pytest.raises(UndefinedError, match="counts"):
        render_template("audit_verdict.txt.j2", leaks=[], divided_hospitals=[])


def test_filters_write_numbers_as_the_page_does():
    metric = {"value": 0.9534, "low": 0.9211, "high": 0.9999}
    assert render_text("{{ m.value | metric }}, {{ m | interval }}", m=metric) == "0.953, 0.921\u2013> 0.999"
    assert render_text("{{ 0.5 | percent }} of {{ 1 | count('image') }}") == "50 % of 1 image"
    assert with_interval(metric) == "0.953 (95 % interval 0.921 to > 0.999)"
    assert with_interval({"value": 0.5, "low": None, "high": None}) == "0.500 (no interval)"
