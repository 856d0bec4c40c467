"""The lung region: against the true lungs of synthetic images and against boxes drawn by people."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from covid_monai.phantoms import anatomy as anatomy
from covid_monai.phantoms.radiograph import draw_radiograph, position_patient
from covid_monai.transforms.lung_region import estimate_lung_boxes, estimate_lung_region


def true_lungs(seed, size):
    habitus = anatomy.Habitus(seed, sex="M", view="PA")
    canvas = position_patient(np.random.default_rng([seed, 1, 0]), size=size, view="PA")
    return canvas.fill([anatomy.lung_outline(habitus, side) for side in anatomy.SIDES], blur=0.5) > 0.5


@pytest.mark.parametrize("class_name", ["normal", "pneumonia", "covid"])
def test_region_finds_the_lungs_of_synthetic_images_whatever_the_disease(class_name):
    dice = []
    for seed in range(6):
        truth, region = (
            true_lungs(seed, 128),
            estimate_lung_region(draw_radiograph(class_name, seed=seed, size=128)),
        )
        dice.append(2 * np.sum(truth & region) / (truth.sum() + region.sum()))
    assert np.mean(dice) > 0.78
    assert min(dice) > 0.70


@pytest.mark.real_data
def test_boxes_agree_with_those_that_people_drew(real_data):
    folder = real_data / "covid-chestxray-dataset"
    content = json.loads((folder / "annotations" / "annotations.json").read_text())
    pictures = {picture["id"]: picture for picture in content["images"] if "id" in picture}
    overlaps = []
    for item in [a for a in content["annotations"] if {"bbox", "category_id"} <= a.keys()][::40]:
        picture = pictures[item["image_id"]]
        path = folder / "images" / picture["file_name"]
        if not path.is_file():
            continue
        x, y, width, height = item["bbox"]
        drawn = np.array([x, y, x + width, y + height]) / np.tile([picture["width"], picture["height"]], 2)
        found = estimate_lung_boxes(np.asarray(Image.open(path).convert("L")))[item["category_id"] - 1]
        sides = np.minimum(drawn[2:], found[2:]) - np.maximum(drawn[:2], found[:2])
        common = np.prod(np.clip(sides, 0, None))
        overlaps.append(common / (np.prod(drawn[2:] - drawn[:2]) + np.prod(found[2:] - found[:2]) - common))
    assert len(overlaps) > 20
    assert np.mean(overlaps) > 0.75


@settings(max_examples=25)
@given(st.integers(2, 80), st.integers(2, 80), st.integers(0, 100), st.sampled_from([1.0, 1e-3, 255.0]))
def test_any_picture_gets_two_boxes_inside_it_and_a_mask_of_its_shape(height, width, seed, scale):
    image = scale * np.random.default_rng(seed).normal(size=(height, width))
    boxes = estimate_lung_boxes(image)
    assert estimate_lung_region(image).shape == (height, width)
    assert np.all(boxes >= 0)
    assert np.all(boxes <= 1)
    assert np.all(boxes[:, 2:] - boxes[:, :2] >= 0.1 - 1e-9)


def test_exposure_does_not_move_the_region():
    image = draw_radiograph("normal", seed=1, size=96)
    assert np.mean(estimate_lung_region(image) ^ estimate_lung_region(3 * image - 1)) < 0.005


def test_blank_picture_has_a_region_too():
    assert 0.1 < estimate_lung_region(np.ones((64, 64))).mean() < 0.7


@pytest.mark.parametrize("image", [np.zeros(9), np.zeros((1, 9)), np.full((9, 9), np.nan)])
def test_what_is_no_grey_picture_is_refused(image):
    with pytest.raises(ValueError, match="grey image"):
        estimate_lung_region(image)
