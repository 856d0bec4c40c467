"""Random markers: letters that read as Pillow draws them, bright, small, near a corner."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from covid_monai.transforms import RandMarker

BLACK = np.zeros((1, 300, 400), dtype=np.float32)


def bounding_box(pixels):
    return Image.fromarray((pixels[0] > 0).astype(np.uint8)).getbbox()  # left, top, right, bottom


def test_letters_are_those_of_pillow():
    mark = RandMarker(prob=1, texts=["PORTABLE"], size=(0.1, 0.1)).set_random_state(0)
    output = mark(BLACK) / mark.level
    page = Image.new("L", (400, 300))
    ImageDraw.Draw(page).text((50, 50), "PORTABLE", font=ImageFont.load_default(30), fill=255)
    expected = np.asarray(page.crop(page.getbbox()), dtype=np.float32) / 255
    left, top, right, bottom = bounding_box(output)
    np.testing.assert_allclose(output[0, top:bottom, left:right], expected, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_small_bright_and_near_a_corner(seed):
    mark = RandMarker(prob=1).set_random_state(seed)
    output = mark(BLACK)
    assert output.max() >= 0.8
    left, top, right, bottom = bounding_box(output)
    assert bottom - top <= 0.1 * 300
    assert min(top, 300 - bottom) <= 0.25 * 300
    assert min(left, 400 - right) <= 0.25 * 400


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 40), width=st.integers(1, 40))
def test_letters_larger_than_the_image_are_cut_off(seed, height, width):
    pixels = np.full((2, height, width), 0.3, dtype=np.float32)
    output = RandMarker(prob=1, texts=["PORTABLE"]).set_random_state(seed)(pixels)
    assert output.shape == pixels.shape
    assert 0.3 - 1e-6 <= output.min() <= output.max() <= 1
    np.testing.assert_array_equal(output[0], output[1])


def test_all_texts_and_corners_occur():
    mark = RandMarker(prob=1, texts=["L", "R", "AP"]).set_random_state(0)
    seen = set()
    for _ in range(300):
        mark.randomize()
        seen.add((mark.text, *(fraction > 0.5 for fraction in mark.position)))
    assert len(seen) == 3 * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"texts": []}, "texts"),
        ({"texts": "LR"}, "texts"),
        ({"texts": ["L", ""]}, "texts"),
        ({"size": (0.1, 0.5)}, "size"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RandMarker(**options)
