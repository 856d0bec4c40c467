"""Pictures of CT slices: grey, each different, with two dark lungs in a brighter body."""

import numpy as np
from skimage.measure import label

from covid_monai.phantoms.ct_slice import draw_ct_slice

SIZE = 128


def test_a_seed_gives_one_picture_and_another_seed_another_one():
    first, again, other = (draw_ct_slice(seed=seed, size=SIZE) for seed in (3, 3, 4))
    assert first.shape == (SIZE, SIZE)
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.05


def test_most_pictures_show_two_dark_regions_inside_the_body():
    with_two = 0
    for seed in range(12):
        dark = draw_ct_slice(seed=seed, size=SIZE) < 0.45
        regions = label(dark, connectivity=1)
        outside = np.unique(np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]]))
        sizes = np.bincount(regions.ravel())
        sizes[outside] = 0
        sizes[0] = 0
        with_two += int(np.sum(sizes > 0.02 * SIZE**2) == 2)
    assert with_two >= 6
