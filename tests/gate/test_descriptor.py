"""The description of an image, against other libraries."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from covid_monai.gate.descriptor import describe, thumbnail


def test_the_descriptor_is_what_other_libraries_compute():
    pixels = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    pixels.flat[:2] = 0, 1
    descriptor = describe(torch.from_numpy(pixels)[None])
    reduced = Image.fromarray(pixels).resize((16, 16), Image.Resampling.BOX)
    np.testing.assert_allclose(thumbnail(descriptor), np.asarray(reduced), atol=1e-6)
    shares, _ = np.histogram(pixels, bins=8, range=(0, 1))
    np.testing.assert_allclose(descriptor[256:264], shares / pixels.size, atol=1e-6)
    assert np.ptp(descriptor[264:]) < 1  # white noise: about the same power in every band


def test_a_wave_lies_in_its_band():
    columns = torch.arange(64) / 64
    coarse, fine = (describe(torch.cos(2 * torch.pi * n * columns).expand(1, 64, 64))[264:] for n in (1, 31))
    assert coarse.argmax() == 0
    assert fine.argmax() >= 9


@settings(max_examples=25)
@given(gain=st.floats(0.1, 10), offset=st.floats(-3, 3), size=st.integers(16, 70))
def test_the_constants_of_the_normalisation_do_not_matter(gain, offset, size):
    image = torch.rand(1, size, size, generator=torch.Generator().manual_seed(size))
    np.testing.assert_allclose(describe(image * gain + offset)[:256], describe(image)[:256], atol=1e-4)
