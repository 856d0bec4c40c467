"""Borders, letters and curves drawn into whole batches: where they may, as often as asked, repeatable."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from covid_monai.training import RandomCollimation, RandomGamma, RandomMarkers
from covid_monai.transforms import CropBorder


def images(count=8, height=100, width=200, channels=1):
    generator = torch.Generator().manual_seed(0)
    return 0.2 + 0.6 * torch.rand(count, channels, height, width, generator=generator)


@pytest.mark.parametrize("change", [RandomCollimation(0.5), RandomMarkers(0.5), RandomGamma()])
def test_a_seeded_batch_repeats_and_shape_dtype_and_input_stay(change):
    batch, before = images(channels=2), images(channels=2)
    torch.manual_seed(3)
    first = change(batch)
    torch.manual_seed(3)
    assert torch.equal(change(batch), first)
    assert torch.equal(batch, before)
    assert first.shape == batch.shape
    assert first.dtype == batch.dtype
    assert first.min() >= 0
    assert first.max() <= 1
    assert not torch.equal(first, batch)


@pytest.mark.parametrize("change", [RandomCollimation(0.0), RandomMarkers(0.0), RandomGamma((1.0, 1.0))])
def test_changes_that_are_switched_off_change_nothing(change):
    assert torch.equal(change(images()), images())


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), max_fraction=st.floats(0.01, 0.25))
def test_strips_leave_the_middle_and_have_one_level_each(seed, max_fraction):
    torch.manual_seed(seed)
    output = RandomCollimation(1, max_fraction=max_fraction)(images())
    changed = output != images()
    rows, columns = int(np.ceil(max_fraction * 100)), int(np.ceil(max_fraction * 200))
    assert not changed[..., rows : 100 - rows, columns : 200 - columns].any()
    for image, where in zip(output, changed, strict=True):
        levels = image[where].unique()
        assert len(levels) <= 1
        assert all(level <= 0.08 or level >= 0.92 for level in levels)


def test_crop_border_takes_the_strips_off():
    torch.manual_seed(0)
    for image in RandomCollimation(1, side_probability=0.5)(images(20)):
        cropped = CropBorder()(image)
        assert cropped.min() >= 0.2
        assert cropped.max() <= 0.8


def test_strips_are_as_frequent_as_asked():
    torch.manual_seed(0)
    output = RandomCollimation(0.5, side_probability=0.5, bright_probability=0.25, max_fraction=0.25)(
        torch.full((2000, 1, 101, 101), 0.5)
    )[:, 0]
    covered = output != 0.5
    some = covered.flatten(1).any(1)
    assert some.float().mean() == pytest.approx(0.5, abs=0.05)
    sides = covered[:, [0, -1], 50].sum(1) + covered[:, 50, [0, -1]].sum(1)
    # A strip narrower than half a pixel (2 % of them) is not seen.
    assert sides[some].float().mean() == pytest.approx(1 + 3 * 0.5, abs=0.1)
    assert (output.amax(dim=(1, 2)) > 0.9)[some].float().mean() == pytest.approx(0.25, abs=0.04)


def _page(text, height):
    page = Image.new("L", (400, 300))
    ImageDraw.Draw(page).text((50, 50), text, font=ImageFont.load_default(height), fill=255)
    return np.asarray(page.crop(page.getbbox()), dtype=np.float32) / 255


def _box(image):
    """Left, top, right, bottom of what is not black."""
    return Image.fromarray((image > 1e-4).numpy().astype(np.uint8)).getbbox()


def test_letters_of_the_largest_size_are_those_of_pillow():
    torch.manual_seed(0)
    for image in RandomMarkers(1, texts=["PORTABLE"], size=(0.1, 0.1))(torch.zeros(4, 1, 300, 400))[:, 0]:
        left, top, right, bottom = _box(image)
        letters = image[top:bottom, left:right]
        np.testing.assert_allclose(letters / letters.max(), _page("PORTABLE", 30), atol=1e-5)
        assert 0.85 <= letters.max() <= 1


def test_smaller_letters_are_those_of_pillow_scaled_down():
    torch.manual_seed(1)
    images = RandomMarkers(1, texts=["SUPINE"], size=(0.05, 0.2))(torch.zeros(30, 1, 300, 400))[:, 0]
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
    for image in RandomMarkers(1)(torch.zeros(4, 1, 300, 400))[:, 0]:
        left, top, right, bottom = _box(image)
        assert image.max() >= 0.75
        assert bottom - top <= 0.1 * 300
        assert min(top, 300 - bottom) <= 0.25 * 300 + 1
        assert min(left, 400 - right) <= 0.25 * 400 + 1


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 40), width=st.integers(1, 40))
def test_letters_larger_than_the_image_are_cut_off(seed, height, width):
    torch.manual_seed(seed)
    batch = torch.full((3, 2, height, width), 0.3)
    output = RandomMarkers(1, texts=["PORTABLE"])(batch)
    assert output.shape == batch.shape
    assert 0.3 - 1e-6 <= output.min() <= output.max() <= 1
    assert torch.equal(output[:, 0], output[:, 1])


def test_markers_are_as_frequent_as_asked_in_every_corner_and_text():
    torch.manual_seed(0)
    output = RandomMarkers(0.25, texts=["L", "PA"])(torch.zeros(3000, 1, 64, 64))[:, 0]
    drawn = output.flatten(1).any(1)
    assert drawn.float().mean() == pytest.approx(0.25, abs=0.03)
    seen = set()
    for left, top, right, bottom in map(_box, output[drawn]):
        seen.add((left + right > 64, top + bottom > 64, right - left > 1.2 * (bottom - top)))
    assert len(seen) == 2 * 2 * 2


def test_curves_are_powers_half_of_them_brighter():
    torch.manual_seed(0)
    batch = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(1, 1, 1, 4).repeat(4000, 1, 1, 1)
    output = RandomGamma((0.5, 2.0))(batch)[:, 0, 0]
    gamma = output[:, 2].log2().neg()
    assert torch.equal(output[:, [0, 3]], batch[:, 0, 0, [0, 3]])
    torch.testing.assert_close(output[:, 1], 0.25**gamma)
    assert 0.5 <= gamma.min() < 0.52
    assert 1.95 < gamma.max() <= 2
    assert (gamma < 1).float().mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCollimation(0.5, max_fraction=0), "max_fraction"),
        (lambda: RandomCollimation(0.5, max_fraction=0.3), "max_fraction"),
        (lambda: RandomCollimation(0.5, side_probability=2), "probabilities"),
        (lambda: RandomMarkers(-1), "probabilities"),
        (lambda: RandomMarkers(0.5, texts=[]), "texts"),
        (lambda: RandomMarkers(0.5, texts="LR"), "texts"),
        (lambda: RandomMarkers(0.5, texts=["L", ""]), "texts"),
        (lambda: RandomMarkers(0.5, size=(0.1, 0.5)), "size"),
        (lambda: RandomGamma((0.0, 2.0)), "gamma"),
        (lambda: RandomGamma((1.2, 2.0)), "gamma"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
