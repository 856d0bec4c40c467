"""Random strips: only at the edges, within bounds, and what CropBorder takes off again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_monai.transforms import CropBorder, RandCollimation


def film(seed=0):
    return np.random.RandomState(seed).uniform(0.2, 0.8, (1, 100, 200)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), max_fraction=st.floats(0.01, 0.25))
def test_middle_stays_and_edges_have_one_level(seed, max_fraction):
    collimate = RandCollimation(prob=1, max_fraction=max_fraction).set_random_state(seed)
    output = collimate(film())
    changed = output != film()
    rows, columns = int(np.ceil(max_fraction * 100)), int(np.ceil(max_fraction * 200))
    assert not changed[:, rows : 100 - rows, columns : 200 - columns].any()
    assert np.unique(output[changed]).size <= 1
    assert collimate.level <= 0.08 or collimate.level >= 0.92


def test_strips_are_as_wide_as_drawn():
    collimate = RandCollimation(prob=1, side_prob=1).set_random_state(0)
    output = collimate(film())
    top, bottom, left, right = collimate.widths
    np.testing.assert_array_equal(
        output[0, round(top * 100) : 100 - round(bottom * 100), round(left * 200) : 200 - round(right * 200)],
        film()[0, round(top * 100) : 100 - round(bottom * 100), round(left * 200) : 200 - round(right * 200)],
    )
    assert (output[0, : round(top * 100)] == np.float32(collimate.level)).all()
    assert (output[0, :, 200 - round(right * 200) :] == np.float32(collimate.level)).all()


def test_crop_border_takes_the_strips_off():
    collimate = RandCollimation(prob=1, side_prob=0.5).set_random_state(0)
    for _ in range(20):
        cropped = CropBorder()(collimate(film()))
        assert cropped.min() >= 0.2 and cropped.max() <= 0.8


def test_frequencies():
    collimate = RandCollimation(prob=0.5, side_prob=0.5, bright_prob=0.25).set_random_state(0)
    draws = []
    for _ in range(3000):
        collimate.randomize()
        if collimate.will_apply:
            draws.append((np.count_nonzero(collimate.widths), collimate.level > 0.5))
    draws = np.array(draws)
    assert abs(len(draws) / 3000 - 0.5) < 0.04
    assert draws[:, 0].min() == 1 and draws[:, 0].max() == 4
    assert abs(draws[:, 0].mean() - (1 + 3 * 0.5)) < 0.1
    assert abs(draws[:, 1].mean() - 0.25) < 0.04


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_fraction": 0}, "max_fraction"),
        ({"max_fraction": 0.3}, "max_fraction"),
        ({"side_prob": 2}, "probabilities"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RandCollimation(**options)
