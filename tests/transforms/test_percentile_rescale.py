"""Percentile rescaling against MONAI's own, and where MONAI's falls short."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.transforms import ScaleIntensityRangePercentiles
from PIL import Image

from covid_monai.transforms import PercentileRescale
from covid_monai.transforms.percentile_rescale import compute_percentiles


def by_monai(pixels, lower, upper):
    return ScaleIntensityRangePercentiles(lower, upper, 0, 1, clip=True)(pixels).numpy()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), low=st.floats(0, 40), high=st.floats(60, 100), side=st.integers(8, 200))
def test_small_images_match_monai(seed, low, high, side):
    pixels = np.random.RandomState(seed).gamma(2, 500, (1, side, side)).astype(np.float32)
    actual = PercentileRescale(lower=low, upper=high)(pixels)
    # MONAI computes the percentiles in float32; a narrow window magnifies how it rounds.
    narrow = np.ptp(pixels) / np.ptp(np.percentile(pixels, [low, high]))
    np.testing.assert_allclose(actual, by_monai(pixels, low, high), atol=1e-5 * narrow, rtol=0)


@pytest.mark.real_data
def test_real_images_match_monai(real_data):
    paths = sorted((real_data / "covid-cxnet" / "covid19").iterdir())[::60]
    assert len(paths) > 10
    for path in paths:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"), dtype=np.float32)[None] / 255
        np.testing.assert_allclose(PercentileRescale()(pixels), by_monai(pixels, 0.5, 99.5), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int16, st.tuples(st.just(1), st.integers(1, 30), st.integers(1, 30))))
def test_integers_become_float32_in_range_and_in_order(pixels):
    output = PercentileRescale()(pixels)
    assert output.dtype == np.float32
    assert 0 <= output.min() <= output.max() <= 1
    assert np.all(np.diff(output.ravel()[pixels.ravel().argsort()]) >= 0)


@pytest.mark.parametrize("level", [0, 0.3, 4095, -1000])
def test_constant_image_becomes_zeros(level):
    output = PercentileRescale()(torch.full((1, 20, 30), float(level)))
    assert torch.equal(output, torch.zeros(1, 20, 30))


def test_nearly_constant_image_is_stretched_over_its_full_range():
    pixels = np.zeros((1, 100, 100), dtype=np.float32)
    pixels[0, 0, 0], pixels[0, 0, 1] = 10, 5
    output = PercentileRescale()(pixels)
    assert output[0, 0, :3].tolist() == [1.0, 0.5, 0.0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), low=st.floats(0, 49), high=st.floats(51, 100))
def test_percentiles_match_numpy(seed, low, high):
    values = np.random.RandomState(seed).uniform(0, 1, 1000).astype(np.float32)
    values[::3] = 0
    actual = compute_percentiles(torch.from_numpy(values), low, high)
    np.testing.assert_allclose(actual, np.percentile(values, [low, high]), atol=1e-6)


def test_volumes_match_monai():
    volume = np.random.RandomState(0).normal(-500, 400, (1, 40, 50, 60)).astype(np.float32)
    np.testing.assert_allclose(PercentileRescale()(volume), by_monai(volume, 0.5, 99.5), atol=1e-6)


@pytest.mark.parametrize("levels", [(0, float("nan")), (0, float("inf")), (-float("inf"), 0), (-3e38, 3e38)])
def test_values_that_are_no_numbers_are_refused(levels):
    with pytest.raises(ValueError, match="NaN or infinite"):
        PercentileRescale()(torch.tensor([[[*levels, 1.0]]]))


def test_half_precision_does_not_overflow():
    output = PercentileRescale()(torch.linspace(-60000, 60000, 400).reshape(1, 20, 20).half())
    assert output.isfinite().all()
    assert output.max() == 1


@pytest.mark.parametrize("percentiles", [(-1, 99), (1, 101), (50, 50), (99, 1)])
def test_wrong_percentiles_are_refused(percentiles):
    with pytest.raises(ValueError, match="0 <= lower < upper <= 100"):
        PercentileRescale(lower=percentiles[0], upper=percentiles[1])
