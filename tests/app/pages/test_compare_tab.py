"""The comparison of two models without a browser."""

import numpy as np
import pytest
from prediction_helpers import REFUSED, prediction

from covid_monai.app.pages.compare_tab import (
    FIRST_HOTTER,
    SECOND_HOTTER,
    agreement,
    difference_picture,
    probability_rows,
    shared_classes,
)
from covid_monai.inference.grad_cam import ImageWithHeatmap


def heat(*rows):
    image = np.full((64, 64), 0.5, np.float32)
    return ImageWithHeatmap(image, np.array(rows, np.float32), np.diag([32.0, 32.0, 1.0]))


def test_difference_is_coloured_by_who_is_hotter_and_is_the_image_where_they_agree():
    same = difference_picture(heat([1, 0], [0, 0]), heat([1, 0], [0, 0]))
    assert np.ptp(same) == 0
    picture = difference_picture(heat([1, 0], [0, 0]), heat([0, 0], [0, 1])).astype(int)
    first, second = picture[0, 0] - same[0, 0], picture[-1, -1] - same[0, 0]
    assert np.dot(first, np.array(FIRST_HOTTER) - same[0, 0]) > 0 > first[2]
    assert np.dot(second, np.array(SECOND_HOTTER) - same[0, 0]) > 0 > second[0]
    # Who is first and who second changes the colours alone.
    turned = difference_picture(heat([0, 0], [0, 1]), heat([1, 0], [0, 0])).astype(int)
    assert np.dot(turned[0, 0] - same[0, 0], np.array(SECOND_HOTTER) - same[0, 0]) > 0


def test_two_answers_are_compared_class_by_class_and_in_words():
    other = prediction(normal=0.75, decided="normal", probabilities={"normal": 0.75, "flu": 0.25})
    rows = {row["class_name"]: row for row in probability_rows(prediction(), other)}
    assert rows["normal"]["difference"] == pytest.approx(0.5)
    assert rows["covid"]["second"] is rows["covid"]["difference"] is rows["flu"]["first"] is None
    assert shared_classes(prediction(), other) == ["normal"]
    assert agreement(prediction(), prediction(normal=0.1)) == "Both models say the same: COVID-19."
    assert agreement(prediction(), other) == "The models do not agree. First: COVID-19. Second: Normal."
    assert "Only the first" in agreement(prediction(), REFUSED)
    assert "not_a_chest" in agreement(REFUSED, prediction())
    assert agreement(REFUSED, REFUSED) == "Neither model classified the image."
