"""Letters drawn into whole batches: legible, near a corner, as often as asked, repeatable."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from covid_monai.training.markers import RandomMarkers


def markers(probability, **changes):
    numbers = {"texts": ("L", "R", "AP", "PA", "SUPINE", "ERECT", "PORTABLE"), "size": (0.035, 0.075)}
    return RandomMarkers(probability, **numbers | changes)


def _page(text, height):
    page = Image.new("L", (400, 300))
    ImageDraw.Draw(page).text((50, 50), text, font=ImageFont.load_default(height), fill=255)
    return np.asarray(page.crop(page.getbbox()), dtype=np.float32) / 255


def _box(image):
    """Left, top, right, bottom of what is not black."""
    return Image.fromarray((image > 1e-4).numpy().astype(np.uint8)).getbbox()


def test_letters_of_the_largest_size_are_those_of_pillow():
    torch.manual_seed(0)
    for image in markers(1, texts=["PORTABLE"], size=(0.1, 0.1))(torch.zeros(4, 1, 300, 400))[:, 0]:
        left, top, right, bottom = _box(image)
        letters = image[top:bottom, left:right]
        np.testing.assert_allclose(letters / letters.max(), _page("PORTABLE", 30), atol=1e-5)
        assert 0.85 <= letters.max() <= 1


def test_smaller_letters_are_those_of_pillow_scaled_down():
    torch.manual_seed(1)
    images = markers(1, texts=["SUPINE"], size=(0.05, 0.2))(torch.zeros(30, 1, 300, 400))[:, 0]
    heights = [bottom - top for _, top, _, bottom in map(_box, images)]
    full = len(_page("SUPINE", 60))
    assert min(heights) < 0.4 * full
    assert 0.85 * full < max(heights) <= full + 1
    for image in images:
        left, top, right, bottom = _box(image)
        drawn = image[top:bottom, left:right].flatten()
        likeness = {}
        for text in ("SUPINE", "ERECT", "PORTABLE"):
            page = Image.fromarray(_page(text, 60)).resize((right - left, bottom - top))
            likeness[text] = np.corrcoef(drawn, np.asarray(page).flatten())[0, 1]
        assert likeness["SUPINE"] > 0.2 + max(likeness["ERECT"], likeness["PORTABLE"])


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_markers_are_small_bright_and_near_a_corner(seed):
    torch.manual_seed(seed)
    for image in markers(1)(torch.zeros(4, 1, 300, 400))[:, 0]:
        left, top, right, bottom = _box(image)
        assert 0.85 - 1e-6 <= image.max() <= 1
        assert bottom - top <= 0.1 * 300
        assert min(top, 300 - bottom) <= 0.25 * 300 + 1
        assert min(left, 400 - right) <= 0.25 * 400 + 1


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 40), width=st.integers(1, 40))
def test_letters_larger_than_the_image_are_cut_off(seed, height, width):
    torch.manual_seed(seed)
    batch = torch.full((3, 2, height, width), 0.3)
    output = markers(1, texts=["PORTABLE"])(batch)
    assert output.shape == batch.shape
    assert 0.3 - 1e-6 <= output.min() <= output.max() <= 1
    assert torch.equal(output[:, 0], output[:, 1])


def test_markers_are_as_frequent_as_asked_in_every_corner_and_text():
    torch.manual_seed(0)
    output = markers(0.25, texts=["L", "PA"])(torch.zeros(3000, 1, 64, 64))[:, 0]
    drawn = output.flatten(1).any(1)
    assert drawn.float().mean() == pytest.approx(0.25, abs=0.03)
    seen = set()
    for left, top, right, bottom in map(_box, output[drawn]):
        seen.add((left + right > 64, top + bottom > 64, right - left > 1.2 * (bottom - top)))
    assert len(seen) == 2 * 2 * 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: markers(-1), "probability"),
        (lambda: markers(0.5, texts=[]), "texts"),
        (lambda: markers(0.5, texts="LR"), "texts"),
        (lambda: markers(0.5, texts=["L", ""]), "texts"),
        (lambda: markers(0.5, size=(0.1, 0.5)), "size"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
