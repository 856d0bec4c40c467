"""Thumbnails of any file, and the comparison of pixels at full size."""

import numpy as np
import pytest
from PIL import Image

from covid_monai.datasets.collections.base import Excluded
from covid_monai.datasets.duplicates.thumbnails import SIDE, is_drawn_in_patches, read_thumbnail, same_pixels
from covid_monai.phantoms.radiograph import draw_radiograph


@pytest.fixture
def image(tmp_path):
    pixels = (draw_radiograph("normal", seed=1, size=2 * SIDE) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def test_a_thumbnail_is_the_average_of_blocks(image):
    pixels = np.asarray(Image.open(image), dtype=float)
    blocks = pixels.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(read_thumbnail(image), blocks, atol=1)


def test_a_file_that_is_no_image_is_excluded_by_name(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    excluded = read_thumbnail(tmp_path / "text.png")
    assert isinstance(excluded, Excluded)
    assert excluded.image.name == "text.png"


def test_a_lossless_copy_has_the_same_pixels_and_a_lossy_one_has_not(image):
    Image.open(image).save(image.with_name("copy.bmp"))
    Image.open(image).save(image.with_name("copy.jpg"), quality=50)
    assert same_pixels(image, image.with_name("copy.bmp"))
    assert not same_pixels(image, image.with_name("copy.jpg"))


def test_patches_with_hard_edges_are_told_from_a_radiograph(image):
    levels = np.random.default_rng(0).integers(20, 230, (12, 12), np.uint8)
    assert is_drawn_in_patches(np.kron(levels, np.ones((SIDE // 12, SIDE // 12), np.uint8)))
    assert not is_drawn_in_patches(read_thumbnail(image))


def test_values_that_are_no_number_do_not_spoil_the_rest_of_a_thumbnail(image, tmp_path):
    values = np.asarray(Image.open(image), dtype=np.float32)
    Image.fromarray(values).save(tmp_path / "whole.tif")
    values[:4, :4] = [np.nan, np.inf, -np.inf, 1.0]
    Image.fromarray(values).save(tmp_path / "holes.tif")
    whole, holes = read_thumbnail(tmp_path / "whole.tif"), read_thumbnail(tmp_path / "holes.tif")
    np.testing.assert_allclose(holes[4:].astype(float), whole[4:], atol=6)
