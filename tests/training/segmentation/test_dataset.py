"""Masks and phantoms of the training: the same place in image and mask."""

import numpy as np
import torch
from mask_helpers import write_masked_phantoms
from monai.metrics import DiceMetric
from monai.transforms import Compose

from covid_monai.bundle import Bundle
from covid_monai.bundle.shipped import LUNG_BUNDLE, shipped_bundle
from covid_monai.datasets.datalist import read_datalist
from covid_monai.training.dataset import split_normalization
from covid_monai.training.segmentation.dataset import MaskDataset, draw_no_radiograph, draw_phantom


def test_images_masks_and_phantoms_come_in_one_gather(tmp_path):
    records = read_datalist(write_masked_phantoms(tmp_path)).records("training")
    decoding: Compose = split_normalization(Bundle(shipped_bundle(LUNG_BUNDLE)).preprocessing)[0]
    decoding.transforms[1].resizer.spatial_size = (64, 64)
    data = MaskDataset(records, decoding, image_size=64, phantoms=3, ct_slices=2)
    batch = data.__getitems__([0, len(records), len(records) + 2, len(records) + 4])
    assert len(data) == len(records) + 5
    assert batch["image"].shape == batch["label"].shape == (4, 1, 64, 64)
    assert batch["image"].dtype == batch["label"].dtype == torch.uint8
    image, mask = draw_phantom(0, size=64)
    assert torch.equal(batch["image"][1], image)
    assert torch.equal(batch["label"][1], mask)
    assert torch.equal(batch["image"][3], draw_no_radiograph(1, size=64)[0])
    assert not batch["label"][3].any()


def test_the_mask_of_a_phantom_lies_on_its_dark_lungs():
    for number in range(6):
        image, mask = (each.numpy()[0] for each in draw_phantom(number, size=256))
        lungs, rest = mask > 127, mask <= 127
        body = rest & (image > 60)  # without the air beside the patient
        assert 0.15 < lungs.mean() < 0.5
        assert np.median(image[lungs]) < np.median(image[body]) - 40
    first, moved = (torch.from_numpy(each[None]) > 127 for each in (mask[None], np.roll(mask, 12)[None]))
    assert DiceMetric()(first, moved) < 0.95
