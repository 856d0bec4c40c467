"""Downscaling before the network's own resize: the divisor, the mean of blocks, the affine."""

import numpy as np
import pytest

from covid_monai.dicom.pixels.downscaling import downscale, downscale_factor, downscaled_affine


@pytest.mark.parametrize(
    ("rows", "columns", "target", "factor"),
    [
        (2048, 2500, 128, 4),
        (2500, 2048, 128, 4),
        (1023, 1024, 128, 1),
        (1024, 1024, 128, 2),
        (1, 1, 128, 1),
        (5000, 5000, None, 1),
    ],
)
def test_both_sides_keep_four_times_the_target(rows, columns, target, factor):
    assert downscale_factor(rows, columns, target) == factor


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_pixel_is_the_mean_of_its_block(dtype):
    image = np.random.default_rng(0).integers(0, 250, (64, 96)).astype(dtype)
    found = downscale(image, 8)  # by 2
    expected = image.reshape(32, 2, 48, 2).mean(axis=(1, 3))
    assert (found.shape, found.dtype) == ((32, 48), dtype)
    assert np.abs(found - expected).max() <= (0.5 if dtype != np.float32 else 1e-4)


def test_a_small_image_is_the_same_object_and_odd_sides_are_rounded_up():
    image = np.zeros((40, 40), np.float32)
    assert downscale(image, 16) is image
    assert downscale(image, None) is image
    assert downscale(np.zeros((65, 67), np.float32), 8).shape == (33, 34)


def test_the_affine_keeps_the_place_of_the_corners():
    affine = np.array([[0.2, 0, 0, 10], [0, 0.3, 0, -5], [0, 0, 1, 0], [0, 0, 0, 1]])
    found = downscaled_affine(affine, (64, 96), (32, 48))
    for corner, full in (((-0.5, -0.5), (-0.5, -0.5)), ((31.5, 47.5), (63.5, 95.5))):
        assert found @ [*corner, 0, 1] == pytest.approx(affine @ [*full, 0, 1])
