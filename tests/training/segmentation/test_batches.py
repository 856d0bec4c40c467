"""Random changes of images and masks together."""

import pytest
import torch

from covid_monai.training.augmentation import RandomAffine, RandomGamma
from covid_monai.training.segmentation.batches import MoveWithMask, PrepareMaskBatch, RandomNoChest


@pytest.fixture
def batch():
    torch.manual_seed(0)
    image = (torch.rand(16, 1, 64, 64) * 255).to(torch.uint8)
    image[:, :, 20:40, 8:30] = 255
    return {"image": image, "label": torch.where(image == 255, image, 0)}


def test_an_image_and_its_mask_move_together(batch):
    batch["image"] = batch["label"]  # an image that is its own mask shows any difference
    moving = RandomAffine(rotate_degrees=15, stretch=0.2, shift=0.1, flip_probability=0.5)
    image, shares = PrepareMaskBatch([MoveWithMask(moving)])(batch)
    torch.testing.assert_close(image, shares[:, 1:])
    assert not torch.equal(image, batch["image"].float() / 255)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(16, 64, 64))


def test_grey_levels_change_the_image_only(batch):
    image, shares = PrepareMaskBatch([RandomGamma(gamma=(0.5, 2.0))])(batch)
    assert torch.equal(shares[:, 1:], batch["label"].float() / 255)
    assert not torch.equal(image, batch["image"].float() / 255)
    assert image.is_contiguous(memory_format=torch.channels_last)


def test_a_picture_without_a_chest_keeps_its_grey_levels_or_its_spectrum_and_has_no_mask(batch):
    image, mask = (batch[key].float() / 255 for key in ("image", "label"))
    changed, empty = RandomNoChest(probability=1.0)(image, mask)
    assert not empty.any()
    spectrum = torch.fft.rfft2(image).abs()
    for before, after, power in zip(image, changed, spectrum, strict=True):
        assert not torch.equal(before, after)
        same_pixels = torch.equal(before.flatten().sort().values, after.flatten().sort().values)
        same_power = torch.allclose(torch.fft.rfft2(after).abs(), power, rtol=0.05, atol=2)
        assert same_pixels != same_power
    for untouched, original in zip(RandomNoChest(probability=0.0)(image, mask), (image, mask), strict=True):
        assert torch.equal(untouched, original)
