"""A heat map over a grey image: colours, opacity, and what cold places show."""

import numpy as np
from matplotlib import colormaps

from covid_monai.transforms.heatmap_overlay import OPACITY, heatmap_colours, overlay_heatmap


def test_cold_places_show_the_image_and_hot_ones_the_colour():
    image = np.full((2, 3), 0.2)
    heat = np.zeros((2, 3))
    heat[1, 2] = 1.0
    drawn = overlay_heatmap(image, heat)
    assert drawn.shape == (2, 3, 3)
    assert drawn.dtype == np.uint8
    assert (drawn[0] == 51).all()
    yellow = np.array(colormaps["inferno"](1.0)[:3])
    expected = 0.2 * (1 - OPACITY) + yellow * OPACITY
    np.testing.assert_array_equal(drawn[1, 2], (expected * 255).round())


def test_own_colours_are_used():
    drawn = overlay_heatmap([[1.0]], [[1.0]], colours=[[[0.0, 0.0, 1.0]]])
    np.testing.assert_array_equal(drawn[0, 0, 0], round(255 * (1 - OPACITY)))
    assert drawn[0, 0, 2] == 255


def test_heat_outside_the_range_is_clipped():
    inside = overlay_heatmap([[0.5, 0.5]], [[0.0, 1.0]])
    np.testing.assert_array_equal(overlay_heatmap([[0.5, 0.5]], [[-1.0, 3.0]]), inside)


def test_colours_rise_from_black_to_light():
    colours = heatmap_colours(np.linspace(0, 1, 5))
    assert colours.shape == (5, 3)
    assert (np.diff(colours.sum(axis=1)) > 0).all()
