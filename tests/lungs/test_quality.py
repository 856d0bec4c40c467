"""Figures of a lung mask, on masks whose figures are known."""

import json

import numpy as np
import pytest
from scipy.ndimage import center_of_mass, gaussian_filter

from covid_monai.lungs.quality import lung_box, lung_quality
from covid_monai.phantoms.radiograph import draw_lung_mask, draw_radiograph
from covid_monai.transforms.hidden_box import INSIDE, box_mask


def two_lungs(*, top=15, bottom=85, left=10, right=90, gap=12) -> np.ndarray:
    mask = np.zeros((100, 100))
    middle = (left + right) // 2
    mask[top:bottom, left : middle - gap // 2] = mask[top:bottom, middle + gap // 2 : right] = 1
    return mask


def test_the_lungs_of_phantoms_are_found_and_lie_where_another_library_says():
    for seed in range(8):
        mask = draw_lung_mask(seed=seed, size=128)
        quality = lung_quality(mask)
        assert quality.found
        assert quality.symmetry > 0.7
        down, across = (np.array(center_of_mass(mask > 0.5)) + 0.5) / 128
        assert quality.center == pytest.approx((across, down), abs=0.005)
        assert sum(quality.areas) == pytest.approx((mask > 0.5).mean())


@pytest.mark.parametrize("border", ["top", "bottom", "left", "right"])
def test_lungs_beyond_a_border_are_cut_off_there(border):
    edges = {"top": 0, "bottom": 100, "left": 0, "right": 100}
    assert lung_quality(two_lungs()).cut_off == ()
    assert lung_quality(two_lungs(**{border: edges[border]})).cut_off == (border,)


def test_the_note_tells_the_size_of_each_lung_and_where_it_is_cut_off():
    one = two_lungs(right=100)  # 34 columns left and 44 columns right of the gap, 70 rows
    one[:, 43:49] = 0
    assert lung_quality(one).note == (
        "Lungs found: 23 % of the image on its left side, 27 % on its right side. "
        "The lungs are cut off at the right of the image."
    )
    assert lung_quality(two_lungs(top=0, bottom=100, left=0)).note.endswith(
        "at the top, bottom and left of the image."
    )
    assert lung_quality(np.zeros((9, 9))).note == "No lungs were found in the image."


def test_a_mask_that_shows_no_two_lungs_is_not_found():
    nothing, spots = np.zeros((100, 100)), np.zeros((100, 100))
    spots[5:60:12, 5:95:12] = 1
    faint = gaussian_filter(two_lungs() * 0.6, 2)
    one = two_lungs()
    one[:, 50:] = 0
    one[40:45, 50:95] = 1
    for mask in (nothing, spots, faint, one, np.ones((100, 100))):
        assert not lung_quality(mask).found
    assert lung_quality(two_lungs(gap=0)).found  # lungs that touch
    assert lung_quality(nothing).to_json()["center"] is None


@pytest.mark.parametrize("class_name", ["pneumonia", "covid"])
def test_the_box_hides_the_disease_of_phantoms_and_leaves_the_corners(class_name):
    for seed in range(6):
        hidden = box_mask(lung_box(draw_lung_mask(seed=seed, size=128)), 128, 128)
        sick, well = (draw_radiograph(name, seed=seed, size=128) for name in (class_name, "normal"))
        change = np.abs(sick - well)
        assert change[~hidden].sum() < 0.001 * change.sum()
        assert not hidden[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def test_the_box_of_no_lungs_leaves_only_the_border():
    assert lung_box(np.zeros((64, 64))) == INSIDE
    assert lung_box(two_lungs()) == pytest.approx((0.10, 0.90, 0.05, 0.95))
    assert lung_box(two_lungs(top=2, right=100)) == pytest.approx((0, 0.90, 0.05, 1))


def test_the_figures_are_plain_json_and_do_not_depend_on_the_size():
    small, large = lung_quality(two_lungs()), lung_quality(np.kron(two_lungs(), np.ones((3, 3))))
    first, second = (json.loads(json.dumps(each.to_json())) for each in (small, large))
    assert first.pop("likeness") == pytest.approx(second.pop("likeness"), abs=0.02)
    assert first == second
    with pytest.raises(ValueError, match=r"\(3, 4, 5\)"):
        lung_quality(np.zeros((3, 4, 5)))
