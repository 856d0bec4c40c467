"""CLAHE: what equalisation must do to an image, whoever computes it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from covid_monai.transforms import CLAHE


@pytest.mark.real_data
def test_real_images_gain_local_contrast(real_data):
    for path in sorted((real_data / "chest_xray" / "test" / "NORMAL").iterdir())[:3]:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"), dtype=np.float32)[None] / 255
        output = CLAHE()(pixels)
        assert np.abs(np.diff(output)).mean() > 1.2 * np.abs(np.diff(pixels)).mean()
        assert np.corrcoef(output.ravel(), pixels.ravel())[0, 1] > 0.8  # still the same image


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), gain=st.floats(0.2, 1), offset=st.floats(0, 1))
def test_linear_exposure_does_not_matter(seed, gain, offset):
    pixels = np.random.RandomState(seed).rand(1, 40, 50)
    exposed = pixels * gain + offset * (1 - gain)
    difference = np.abs(CLAHE()(exposed) - CLAHE()(pixels))
    assert np.mean(difference) < 0.01  # rounding to 256 histogram bins, twice, is all that may differ


def test_higher_clip_limit_gives_more_contrast():
    ramp = np.tile(np.linspace(0.45, 0.55, 96, dtype=np.float32), (1, 96, 1))
    ramp[0, 0, :2] = 0, 1  # else the stretch to full range does it all
    spreads = [CLAHE(clip_limit=limit)(ramp).std() for limit in (0.005, 0.02, 0.1)]
    assert spreads == sorted(spreads)
    assert spreads[0] < spreads[-1]


def test_channels_are_equalised_on_their_own():
    pixels = np.random.RandomState(0).rand(3, 40, 40).astype(np.float32)
    output = CLAHE()(pixels)
    np.testing.assert_array_equal(output[1:2], CLAHE()(pixels[1:2]))


def test_constant_channel_and_tiny_image_stay_in_range():
    constant = np.full((1, 20, 20), 0.3, dtype=np.float32)
    np.testing.assert_array_equal(CLAHE()(constant), constant)
    tiny = CLAHE()(np.array([[[0.0, 0.5, 1.0]]], dtype=np.float32))
    assert tiny.shape == (1, 1, 3)
    assert 0 <= tiny.min() <= tiny.max() <= 1


@pytest.mark.parametrize("level", [-0.1, 1.1, 255.0, float("nan")])
def test_values_outside_the_range_are_refused_with_a_way_out(level):
    with pytest.raises(ValueError, match="PercentileRescale or ScaleIntensity"):
        CLAHE()(np.array([[[0.5, level]]]))


@pytest.mark.parametrize("options", [{"clip_limit": 0}, {"clip_limit": 2}, {"tiles": 0}, {"bins": 1}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        CLAHE(**options)
