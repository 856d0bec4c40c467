"""A canvas for soft shapes: places, sizes and softness in body coordinates."""

import numpy as np
import pytest

from covid_monai.phantoms.canvas import Canvas, Line, ellipse, spline

SQUARE = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])


def centre(layer):
    """Middle of a layer in body coordinates, (x, y)."""
    axis = (np.arange(len(layer)) + 0.5) / len(layer) * 2 - 1
    return np.array([layer.sum(axis=0) @ axis, layer.sum(axis=1) @ axis]) / layer.sum()


@pytest.mark.parametrize("size", [64, 128, 256])
@pytest.mark.parametrize("blur", [0, 2, 30])
def test_a_polygon_has_its_area_place_and_range_at_every_size(size, blur):
    layer = Canvas(size).fill([SQUARE], blur=blur)
    assert (layer.shape, layer.dtype) == ((size, size), np.float32)
    assert layer.min() >= 0
    assert layer.max() <= 1
    assert layer.mean() == pytest.approx(0.25, abs=0.05)
    assert np.abs(centre(layer)).max() < 0.05  # half a pixel of the coarse grid is 0.03


def test_blur_is_stated_in_pixels_of_512():
    sharp, soft = (Canvas(256).fill([SQUARE], blur=blur) for blur in (0, 12))
    assert set(np.unique(sharp)) == {0, 1}
    edge = soft[128, 54:74]
    assert (np.diff(edge) > 0).all(), "it rises all the way over the edge"
    assert ((soft > 0.05) & (soft < 0.95)).sum() > 1000


def test_polygons_are_united_and_none_is_an_empty_layer():
    both = Canvas(64).fill([SQUARE, SQUARE], blur=0)
    assert np.array_equal(both, Canvas(64).fill([SQUARE], blur=0))
    assert Canvas(64).fill([], blur=3).max() == 0


def test_a_line_has_its_width_and_level():
    layer = Canvas(200).stroke([Line(np.array([(-1.2, 0), (1.2, 0)]), 0.1, level=0.5)], blur=0)
    assert (layer[:, 100] > 0).sum() == pytest.approx(10, abs=1)
    assert layer.max() == pytest.approx(0.5, abs=1 / 255)
    thin = Canvas(64).stroke([Line(np.array([(-1, 0), (1, 0)]), 1e-6)], blur=0)
    assert thin.max() == 1, "a line is never thinner than a pixel"


def test_positioning_moves_every_shape():
    moved = Canvas(128, matrix=[[0.5, 0], [0, 0.5]], shift=(0.25, -0.1)).fill([SQUARE], blur=0)
    assert centre(moved) == pytest.approx((0.25, -0.1), abs=0.02)
    assert moved.mean() == pytest.approx(0.25 / 4, abs=0.01)


def test_coordinates_are_those_in_which_shapes_are_drawn():
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    canvas = Canvas(128, matrix=0.9 * turn, shift=(0.1, 0.05))
    x, y = canvas.coordinates()
    inside = (np.abs(x) < 0.5) & (np.abs(y) < 0.5)
    assert np.mean(inside != (canvas.fill([SQUARE], blur=0) > 0.5)) < 0.02


@pytest.mark.parametrize(("size", "smallest", "expected"), [(256, 64, 128), (100, 64, 64), (50, 64, 50)])
def test_a_reduced_canvas_has_half_the_size_but_not_too_little(size, smallest, expected):
    canvas = Canvas(size, shift=(0.1, 0.2))
    reduced = canvas.reduced(smallest=smallest)
    assert reduced.size == expected
    assert np.array_equal(reduced.shift, canvas.shift)
    assert canvas.enlarge(np.ones((expected, expected), np.float32)).shape == (size, size)


def test_noise_has_unit_variance_and_comes_from_its_generator():
    first, again = (Canvas(64).noise(np.random.default_rng(1), cells=(4, 16)) for _ in range(2))
    assert np.array_equal(first, again)
    assert first.std() == pytest.approx(1, abs=1e-3)
    assert not np.array_equal(first, Canvas(64).noise(np.random.default_rng(2), cells=(4, 16)))
    assert np.isfinite(Canvas(64).noise(np.random.default_rng(1), cells=())).all()


def test_a_spline_goes_through_its_points():
    points = np.array([(0, 0), (1, 2), (3, 1), (4, 4)], float)
    assert np.array_equal(spline(points, steps=5)[::5], points)
    closed = spline(points, closed=True, steps=5)
    assert len(closed) == 20
    assert np.array_equal(closed[::5], points)
    straight = spline([(0, 0), (1, 1), (2, 2)])
    assert np.allclose(straight[:, 0], straight[:, 1])


def test_an_ellipse_has_its_centre_and_radii():
    outline = ellipse((1, 2), (3, 4))
    assert outline.mean(axis=0) == pytest.approx((1, 2))
    assert np.allclose(((outline - (1, 2)) / (3, 4) ** np.ones(2)) ** 2 @ np.ones(2), 1)
