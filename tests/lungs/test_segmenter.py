"""The shipped lung bundle: what it finds on phantoms and real images, and that one path of pixels holds."""

import json
import re

import numpy as np
import pytest
import skimage.data
import torch
from mask_helpers import write_masked_phantoms
from PIL import Image

from covid_monai.bundle import Bundle
from covid_monai.bundle.shipped import LUNG_BUNDLE, SHIPPED_BUNDLE, shipped_bundle
from covid_monai.inference.classifier import Classifier
from covid_monai.lungs import LungSegmenter, lung_quality
from covid_monai.lungs.masks import read_mask
from covid_monai.phantoms.radiograph import draw_lung_mask, draw_radiograph
from covid_monai.readers import read_radiograph


@pytest.fixture(scope="module")
def segmenter() -> LungSegmenter:
    return LungSegmenter()


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


def test_the_lungs_of_phantoms_are_found_where_they_are(segmenter):
    found = []
    for seed in range(100, 106):  # other persons than those of the training
        mask = segmenter(draw_radiograph("pneumonia", seed=seed, size=256))
        assert mask.shape == (256, 256)
        assert lung_quality(mask).found
        found.append(dice(mask > 0.5, draw_lung_mask(seed=seed, size=256) > 0.5))
    assert min(found) > 0.9


@pytest.mark.parametrize("picture", ["camera", "coins", "page", "grass", "moon"])
def test_no_lungs_are_found_in_other_pictures(segmenter, picture):
    assert not lung_quality(segmenter(getattr(skimage.data, picture)())).found


def test_the_mask_comes_from_the_preprocessing_of_the_bundle(segmenter, tmp_path):
    pixels = (draw_radiograph("normal", seed=3, size=600)[:480] * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    image = segmenter.bundle.preprocessing({"image": tmp_path / "image.png"})["image"].as_tensor()
    with torch.inference_mode():
        expected = segmenter.bundle.load_network()(image[None]).softmax(dim=1)[0, 1]
    mask = segmenter(read_radiograph(tmp_path / "image.png")[0][0])
    assert mask.shape == (480, 600)
    small = torch.nn.functional.interpolate(torch.tensor(mask)[None, None], size=(256, 256), mode="area")[
        0, 0
    ]
    assert (small - expected).abs().mean() < 0.01
    # The range of the values does not matter, and the input of a classifier is enough.
    np.testing.assert_allclose(segmenter(pixels * 3.0 - 100), mask, atol=0.02)
    reduced = np.asarray(Image.fromarray(pixels).resize((128, 128)))
    assert lung_quality(segmenter(reduced)).found


def test_what_is_no_lung_bundle_or_no_image_is_refused(segmenter):
    with pytest.raises(ValueError, match="gives no mask of the lungs"):
        LungSegmenter(shipped_bundle(SHIPPED_BUNDLE))
    with pytest.raises(ValueError, match="gives masks and no classes"):
        Classifier(shipped_bundle(LUNG_BUNDLE), device="cpu")
    with pytest.raises(ValueError, match=r"finite grey image \[H, W\]"):
        segmenter(np.full((64, 64), np.nan))


def test_evaluate_writes_the_dice_of_any_datalist_with_masks(run, tmp_path):
    datalist = write_masked_phantoms(tmp_path / "data", size=256, images_per_split=2)
    arguments = (
        "--bundle",
        shipped_bundle(LUNG_BUNDLE),
        "--datalist",
        datalist,
        "--output",
        tmp_path / "out",
    )
    code, out, _ = run("evaluate", *map(str, arguments))
    assert code == 0
    assert re.search(r"Dice by patient 0\.9\d\d", out)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["dice_by_patient"]["value"] > 0.9


@pytest.mark.real_data
def test_the_model_card_holds_on_real_images(segmenter, real_data):
    metrics = json.loads((shipped_bundle(LUNG_BUNDLE) / "evaluation" / "metrics.json").read_text())
    assert (
        metrics["model"]["weights_sha256"] == Bundle(shipped_bundle(LUNG_BUNDLE)).identity["weights_sha256"]
    )
    assert segmenter.bundle.checkpoint_path.stat().st_size <= 5e6
    masks = sorted((real_data / "lung-masks-v7").glob("*.png"))[::60]
    images = {path.stem: path for path in (real_data / "covid-chestxray-dataset" / "images").iterdir()}
    found = []
    for path in masks:
        mask = segmenter(read_radiograph(images[path.stem], target_size=256)[0][0])
        small = torch.nn.functional.interpolate(torch.tensor(mask)[None, None], size=(256, 256), mode="area")
        found.append(dice(small[0, 0].numpy() > 0.5, read_mask(path, size=256)[0].numpy() > 127))
    assert np.mean(found) > metrics["dice_by_patient"]["low"] - 0.02
    card = (shipped_bundle(LUNG_BUNDLE) / "docs" / "README.md").read_text()
    assert metrics["sentence"].split(",")[0].removeprefix("Dice by patient ") in card
    assert metrics["model"]["weights_sha256"][:16] in card
