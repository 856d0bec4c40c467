"""Hidden boxes: nothing of what was in them may be left."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from monai.data import MetaTensor

from covid_monai.transforms.hidden_box import INSIDE, box_mask, hide_box

BOXES = (INSIDE, (0.0, 0.5, 0.25, 1.0), (0.0, 1.0, 0.0, 1.0))
images = npst.arrays(
    np.float32,
    st.tuples(st.just(1), st.integers(16, 40), st.integers(16, 40)),
    elements=st.floats(0, 1, width=32),
)


@pytest.mark.parametrize("box", BOXES)
@given(image=images, other=st.floats(0, 1, width=32))
def test_output_does_not_depend_on_what_was_hidden(box, image, other):
    changed = image.copy()
    changed[:, box_mask(box, *image.shape[1:])] = other
    np.testing.assert_array_equal(hide_box(image, box), hide_box(changed, box))


@pytest.mark.parametrize("box", BOXES[:2])
@given(image=images)
def test_the_rest_stays_and_the_fill_is_its_mean(box, image):
    hidden = box_mask(box, *image.shape[1:])
    painted = hide_box(image, box)
    np.testing.assert_array_equal(painted[:, ~hidden], image[:, ~hidden])
    np.testing.assert_allclose(painted[:, hidden], image[:, ~hidden].mean(dtype=np.float64), atol=1e-6)


def test_an_image_of_which_nothing_is_visible_is_black():
    assert not hide_box(np.ones((1, 8, 8), np.float32), BOXES[2]).any()


def test_boxes_are_shares_of_the_image():
    inside, part = (box_mask(box, 200, 100) for box in BOXES[:2])
    np.testing.assert_array_equal(inside, inside[::-1, ::-1])
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert (rows[0], rows[-1]) == (13, 186)
    assert (columns[0], columns[-1]) == (6, 93)
    assert part[:100, 25:].all()
    assert part.sum() == 100 * 75


def test_container_and_metadata_are_kept():
    pixels = np.random.default_rng(0).random((1, 32, 32)).astype(np.float32)
    image = MetaTensor(torch.from_numpy(pixels), meta={"filename_or_obj": "a.png"})
    painted = hide_box(image, INSIDE)
    assert painted.meta["filename_or_obj"] == "a.png"
    np.testing.assert_array_equal(painted.numpy(), hide_box(pixels, INSIDE))
    np.testing.assert_array_equal(image.numpy(), pixels)
    with pytest.raises(ValueError, match="floating-point"):
        hide_box(np.zeros((1, 32, 32), dtype=np.uint8), INSIDE)
