"""The comparison of two models."""

import numpy as np
import pytest
from app_helpers import browser_test, percentage, until
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


@pytest.fixture(scope="module")
def server(two_models):
    """The page with two models."""
    return two_models


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
    rows = {row[0]: row[1:] for row in probability_rows(prediction(), other)}
    other_label = next(name for name in rows if name.lower() == "flu")
    assert rows["Normal"][2] == "+50.0 points"
    assert rows["COVID-19"][1:] == ["-", "-"]
    assert [rows[other_label][column] for column in (0, 2)] == ["-", "-"]
    assert shared_classes(prediction(), other) == ["normal"]
    assert agreement(prediction(), prediction(normal=0.1)) == "Both models say the same: COVID-19."
    assert agreement(prediction(), other) == "The models do not agree. First: COVID-19. Second: Normal."
    assert "Only the first" in agreement(prediction(), REFUSED)
    assert "not_a_chest" in agreement(REFUSED, prediction())
    assert agreement(REFUSED, REFUSED) == "Neither model classified the image."


NAMES = ("normal", "pneumonia", "covid")


@browser_test
def test_compare_shows_two_models_on_one_image(page, many_images, by_command, look):
    image = sorted(many_images.glob("*.jpg"))[0]
    page.open_tab("Compare")
    page.upload(image)
    until(lambda: len(page.all(".compare-body .picture img")) == 3, "two heat maps and their difference")
    cards = page.texts(".side-by-side .card")
    assert len(cards) == 2
    assert "(other)" in cards[1]
    assert "(other)" not in cards[0]
    table = [text.split("\t")[-3:] for text in page.texts(".compare-body table tbody tr")]
    for name, row in zip(NAMES, table, strict=True):
        first, second, difference = map(percentage, row)
        assert first == pytest.approx(100 * float(by_command[image.name][f"p_{name}"]), abs=6e-2)
        assert second - first == pytest.approx(difference, abs=0.2)
    assert any(first != second for first, second, _ in table)
    pictures = [e.get_attribute("src") for e in page.all(".compare-body .picture img")]
    assert len(set(pictures)) == 3
    page.choose_labelled("Evidence for", "COVID-19")
    captions = ["First: evidence for COVID-19", "Second: evidence for COVID-19"]
    until(lambda: page.texts(".compare-body figcaption")[:2] == captions, "heat maps of another class")
    look("compare", 1280)
    look("compare", 390, dark=True)
