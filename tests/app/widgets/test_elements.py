"""Tables and curves of the page: what a caller passes is text, never markup."""

import pytest

from covid_monai.app.widgets.elements import roc_svg

FIGURE = {"value": 0.9, "low": 0.8, "high": 1.0}


@pytest.mark.parametrize("curve", [[], [(0, 0), (0.1, 0.9), (1, 1)]], ids=["no curve", "curve"])
def test_a_roc_curve_has_its_operating_point_and_a_title_without_markup(curve):
    drawing = roc_svg(curve, (FIGURE, FIGURE), title="<b>")
    assert "roc-point" in drawing
    assert ("roc-curve" in drawing) == bool(curve)
    assert "<b>" not in drawing
