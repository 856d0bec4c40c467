"""Hidden regions: nothing of what was in them may be left, and the lungs of the phantoms lie in them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from monai.data import MetaTensor

from covid_monai.phantoms.radiograph import draw_radiograph
from covid_monai.transforms.hide_region import REGIONS, HideRegion, HideRegiond, region_mask

images = npst.arrays(
    np.float32,
    st.tuples(st.just(1), st.integers(16, 40), st.integers(16, 40)),
    elements=st.floats(0, 1, width=32),
)


@pytest.mark.parametrize("region", REGIONS)
@given(image=images, other=st.floats(0, 1, width=32))
def test_output_does_not_depend_on_what_was_hidden(region, image, other):
    changed = image.copy()
    changed[:, region_mask(region, *image.shape[1:])] = other
    np.testing.assert_array_equal(HideRegion(region=region)(image), HideRegion(region=region)(changed))


@pytest.mark.parametrize("region", REGIONS)
@given(image=images)
def test_the_rest_stays_and_the_fill_is_its_mean(region, image):
    hidden = region_mask(region, *image.shape[1:])
    painted = HideRegion(region=region)(image)
    np.testing.assert_array_equal(painted[:, ~hidden], image[:, ~hidden])
    np.testing.assert_allclose(painted[:, hidden], image[:, ~hidden].mean(dtype=np.float64), atol=1e-6)


@pytest.mark.parametrize("class_name", ["pneumonia", "covid"])
@pytest.mark.parametrize("region", REGIONS)
def test_disease_of_the_phantoms_lies_in_the_hidden_region(region, class_name):
    hidden = region_mask(region, 128, 128)
    for seed in range(10):
        change = np.abs(
            draw_radiograph(class_name, seed=seed, size=128) - draw_radiograph("normal", seed=seed, size=128)
        )
        assert change[~hidden].sum() < 0.001 * change.sum()


def test_regions_look_as_described():
    lungs, inside = (region_mask(region, 200, 100) for region in REGIONS)
    for hidden in (lungs, inside):
        np.testing.assert_array_equal(hidden, hidden[::-1, ::-1])
        assert hidden[100, 50]
        assert not hidden[0].any()
        assert not hidden[:, 0].any()
    assert not lungs[16, 8], "the corners stay visible"
    assert inside[16, 8]
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert (rows[0], rows[-1]) == (13, 186)
    assert (columns[0], columns[-1]) == (6, 93)


def test_containers_and_metadata_are_kept():
    pixels = np.random.default_rng(0).random((1, 32, 32)).astype(np.float32)
    image = MetaTensor(torch.from_numpy(pixels), meta={"filename_or_obj": "a.png"})
    painted = HideRegiond("image", region="inside")({"image": image, "label": 1})
    assert painted["label"] == 1
    assert painted["image"].meta["filename_or_obj"] == "a.png"
    np.testing.assert_array_equal(painted["image"].numpy(), HideRegion(region="inside")(pixels))
    np.testing.assert_array_equal(image.numpy(), pixels)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"'heart'.*lungs, inside"):
        HideRegion(region="heart")
    with pytest.raises(ValueError, match="floating-point"):
        HideRegion()(np.zeros((1, 32, 32), dtype=np.uint8))
