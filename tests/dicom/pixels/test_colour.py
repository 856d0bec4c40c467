"""Colour images: those that are really grey become one channel, all others are refused."""

import numpy as np
import pytest
import skimage.data
from dicom_helpers import SECONDARY_CAPTURE, make_ds, picture, refusal, save
from PIL import Image

from covid_monai.core.vocabulary import RefusalReason, RefusedImage
from covid_monai.dicom.pixels.colour import grey_from_rgb
from covid_monai.readers import read_radiograph


@pytest.mark.parametrize(
    "name", ["astronaut", "coffee", "chelsea", "rocket", "retina", "immunohistochemistry"]
)
def test_photographs_are_refused(name):
    try:
        photograph = getattr(skimage.data, name)()
    except (ConnectionError, ModuleNotFoundError, OSError):
        pytest.skip(f"scikit-image does not ship {name}")
    with pytest.raises(RefusedImage):
        grey_from_rgb(photograph[..., :3])


def test_colour_map_is_refused():
    g = picture() / 255.0
    jet = np.stack([1.5 - abs(4 * g - k) for k in (3, 2, 1)], axis=-1).clip(0, 1)
    with pytest.raises(RefusedImage):
        grey_from_rgb((jet * 255).astype(np.uint8))


def test_tint_noise_and_a_small_arrow_are_accepted():
    image = np.repeat(picture()[..., None], 3, axis=2).astype(float)
    image = image * [0.8, 0.95, 1.0] + np.random.default_rng(0).normal(0, 4, image.shape)
    image = image.clip(0, 255).astype(np.uint8)
    image[40:50, 60:80] = [255, 0, 0]
    weighted = image @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey_from_rgb(image), weighted, atol=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_conversion_equals_pillow(dtype):
    image = (np.random.default_rng(0).integers(0, 12, (64, 64, 3)) + picture(64, 64)[..., None] * 0.9).astype(
        dtype
    )
    scaled = image.astype(dtype) if dtype is np.uint8 else image * 257
    expected = np.asarray(Image.fromarray(image.astype(np.uint8)).convert("L"), float)
    np.testing.assert_allclose(grey_from_rgb(scaled) / np.iinfo(dtype).max, expected / 255, atol=0.51 / 255)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_is_refused(tmp_path, photometric):
    colour = np.stack([picture(), picture()[::-1], picture()[:, ::-1]], axis=-1)
    ds = make_ds(np.ascontiguousarray(colour), sop_class=SECONDARY_CAPTURE, photometric=photometric)
    assert refusal(save(ds, tmp_path / "image.dcm")) is RefusalReason.COLOUR


def test_grey_palette_and_grey_ybr(tmp_path):
    expected, _ = read_radiograph(save(make_ds(picture()), tmp_path / "grey.dcm"))
    ds = make_ds(picture(), sop_class=SECONDARY_CAPTURE, photometric="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        ds.add_new(
            f"{colour}PaletteColorLookupTableData", "OW", (np.arange(256, dtype="<u2") * 257).tobytes()
        )
    np.testing.assert_allclose(read_radiograph(save(ds, tmp_path / "palette.dcm"))[0], expected, atol=1e-6)
    ybr = np.full((*picture().shape, 3), 128, np.uint8)
    ybr[..., 0] = picture()
    ds = make_ds(ybr, sop_class=SECONDARY_CAPTURE, photometric="YBR_FULL")
    np.testing.assert_allclose(read_radiograph(save(ds, tmp_path / "ybr.dcm"))[0], expected, atol=1e-6)
