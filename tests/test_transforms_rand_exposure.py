"""The exposure curve: order of grey levels, range of the draws, MONAI's gamma as reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import AdjustContrast

from covid_monai.transforms import RandExposure

RAMP = np.linspace(0, 1, 500, dtype=np.float32)[None, None]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), shift=st.floats(0, 0.45), gamma=st.floats(0.2, 5))
def test_order_of_grey_levels_is_kept(seed, shift, gamma):
    expose = RandExposure(prob=1, shift=shift, gamma=(min(gamma, 1), max(gamma, 1))).set_random_state(seed)
    curve = expose(RAMP)[0, 0]
    assert np.all(np.diff(curve) >= -1e-6)
    assert curve[-1] > curve[0]


def test_gamma_alone_is_monais():
    expose = RandExposure(prob=1, shift=0).set_random_state(1)
    output = expose(RAMP)
    assert abs(expose.gamma_value - 1) > 0.02
    np.testing.assert_allclose(output, AdjustContrast(expose.gamma_value)(RAMP).numpy(), atol=1e-5)


def test_draws_cover_their_ranges_and_are_balanced():
    expose = RandExposure(prob=1, gamma=(0.5, 2), shift=0.2).set_random_state(0)
    draws = []
    for _ in range(2000):
        expose.randomize()
        draws.append((np.log2(expose.gamma_value), expose.window_low, expose.window_high - 1))
    draws = np.array(draws)
    np.testing.assert_allclose(draws.min(axis=0), [-1, -0.2, -0.2], atol=0.02)
    np.testing.assert_allclose(draws.max(axis=0), [1, 0.2, 0.2], atol=0.02)
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=0.05)


@pytest.mark.parametrize("options", [{"gamma": (0, 1)}, {"gamma": (2, 1)}, {"shift": 0.5}, {"shift": -0.1}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RandExposure(**options)
