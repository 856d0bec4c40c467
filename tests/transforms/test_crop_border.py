"""Frames go, images stay: on generated images, and on real ones that get a known frame."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import CropForeground
from PIL import Image

from covid_monai.transforms import CropBorder


def make_image(height=100, width=120, seed=0):
    return np.random.RandomState(seed).uniform(0.2, 0.8, (1, height, width)).astype(np.float32)


def frame(pixels, top, bottom, left, right, level=0.0):
    return np.pad(pixels, ((0, 0), (top, bottom), (left, right)), constant_values=level)


def real_images(folder):
    paths = [path for path in sorted(folder.iterdir()) if path.suffix in {".png", ".jpg", ".jpeg"}]
    for path in paths[:: max(1, len(paths) // 25)]:
        with Image.open(path) as picture:
            yield np.asarray(picture.convert("L"), dtype=np.float32)[None] / 255


widths = st.integers(0, 25)


@settings(max_examples=60, deadline=None)
@given(
    top=widths,
    bottom=widths,
    left=widths,
    right=widths,
    level=st.sampled_from([0, 0.05, 0.97, 1]),
    seed=st.integers(0, 99),
)
def test_frame_goes_and_image_stays(top, bottom, left, right, level, seed):
    pixels = make_image(seed=seed)
    np.testing.assert_array_equal(CropBorder()(frame(pixels, top, bottom, left, right, level)), pixels)


def test_agrees_with_monai_on_a_clean_black_frame():
    framed = frame(make_image(), 9, 3, 0, 17)
    np.testing.assert_array_equal(CropBorder()(framed), CropForeground()(framed).numpy())


@pytest.mark.real_data
@pytest.mark.parametrize(
    "folder", ["covid-chestxray-dataset/images", "covid-cxnet/covid19", "chest_xray/test/NORMAL"]
)
def test_real_images(real_data, folder):
    crop = CropBorder()
    count = framed = 0
    for pixels in real_images(real_data / folder):
        cropped = crop(pixels)
        count += 1
        assert all(
            size >= 0.5 * whole for size, whole in zip(cropped.shape[1:], pixels.shape[1:], strict=True)
        )
        np.testing.assert_array_equal(crop(cropped), cropped)  # idempotent
        # A frame put around the image is found to the pixel where the image has none of its own.
        if cropped.shape == pixels.shape and np.ptp(pixels[0, 0]) > 0.3 and np.ptp(pixels[0, -1]) > 0.3:
            framed += 1
            recovered = crop(frame(pixels, 30, 20, 0, 0, 0.02))
            assert abs(recovered.shape[1] - pixels.shape[1]) <= 1
    assert count >= 20
    assert framed >= 5


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_idempotent_on_anything(seed, data):
    """Blocks of black and white at random places: frames, half frames, frames within frames."""
    pixels = make_image(data.draw(st.integers(70, 160)), data.draw(st.integers(70, 160)), seed)
    for _ in range(data.draw(st.integers(1, 6))):
        rows = sorted(data.draw(st.tuples(st.integers(0, 160), st.integers(0, 160))))
        columns = sorted(data.draw(st.tuples(st.integers(0, 160), st.integers(0, 160))))
        pixels[0, rows[0] : rows[1], columns[0] : columns[1]] = data.draw(st.sampled_from([0.0, 0.06, 1.0]))
    once = CropBorder()(pixels)
    assert min(once.shape[1:]) >= 64
    assert once.shape[1] >= 0.5 * pixels.shape[1] - 1
    assert once.shape[2] >= 0.5 * pixels.shape[2] - 1
    np.testing.assert_array_equal(CropBorder()(once), once)


@pytest.mark.parametrize(
    "pixels",
    [
        make_image(),
        np.zeros((1, 100, 100), dtype=np.float32),
        np.ones((1, 100, 100), dtype=np.float32),
        frame(make_image(), 10, 10, 10, 10, level=0.5),  # grey is no frame
        frame(make_image(), 0, 0, 80, 0),  # wider than a quarter
        frame(make_image(50, 60), 10, 10, 10, 10),  # what is left would be too small
        make_image(30, 30),
        make_image(1, 1),
    ],
    ids=["no frame", "black", "white", "grey", "wide", "small image", "small", "one pixel"],
)
def test_left_alone(pixels):
    np.testing.assert_array_equal(CropBorder()(pixels), pixels)


def test_wedges_beside_a_rotated_image_stay():
    rows, columns = np.mgrid[:150, :150] - 75
    turned = np.abs(rows * 0.97 + columns * 0.26), np.abs(columns * 0.97 - rows * 0.26)
    pixels = np.where((turned[0] < 65) & (turned[1] < 65), make_image(150, 150), 0).astype(np.float32)
    cropped = CropBorder()(pixels)
    assert np.count_nonzero(cropped) >= 0.99 * np.count_nonzero(pixels)
    assert (cropped == 0).mean() > 0.1


def test_text_in_the_frame_does_not_stop_it():
    framed = frame(make_image(100, 400), 20, 0, 0, 0)
    framed[:, 5:12, 10:16] = 1
    assert CropBorder()(framed).shape == (1, 100, 400)


def test_affine_follows():
    framed = MetaTensor(frame(make_image(), 8, 4, 20, 0), affine=np.diag([0.5, 0.25, 1, 1]))
    cropped = CropBorder()(framed)
    np.testing.assert_allclose(
        (cropped.affine @ torch.tensor([0.0, 0, 0, 1]).double())[:2], [8 * 0.5, 20 * 0.25]
    )


def test_cropped_image_does_not_hold_the_whole_one():
    cropped = CropBorder()(torch.from_numpy(frame(make_image(), 20, 20, 20, 20)))
    assert cropped.untyped_storage().nbytes() == 4 * 100 * 120


def test_volume_is_refused():
    with pytest.raises(ValueError, match=r"\[C, H, W\].*\(1, 8, 8, 8\)"):
        CropBorder()(np.zeros((1, 8, 8, 8), dtype=np.float32))
