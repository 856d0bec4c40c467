"""Random changes of whole batches: within their numbers, as often as asked, repeatable."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.transforms import Compose

from covid_monai.training.augmentation import (
    RandomAffine,
    RandomBlur,
    RandomCollimation,
    RandomGamma,
    RandomGreyLevels,
)
from covid_monai.training.markers import RandomMarkers
from covid_monai.transforms import CropBorder

BUNDLE = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"


def collimation(probability, **changes):
    numbers = {"max_fraction": 0.12, "side_probability": 0.6, "bright_probability": 0.2}
    return RandomCollimation(probability, **numbers | changes)


def markers(probability):
    return RandomMarkers(probability, texts=("L", "PORTABLE"), size=(0.035, 0.075))


def affine(**changes):
    still = {"rotate_degrees": 0, "stretch": 0, "shift": 0, "flip_probability": 0}
    return RandomAffine(**still | changes)


def images(count=8, height=100, width=200, channels=1):
    generator = torch.Generator().manual_seed(0)
    return 0.2 + 0.6 * torch.rand(count, channels, height, width, generator=generator)


@pytest.mark.parametrize("change", [collimation(0.5), markers(0.5), RandomGamma((0.5, 2.0))])
def test_a_seeded_batch_repeats_and_shape_dtype_and_input_stay(change):
    batch, before = images(channels=2), images(channels=2)
    torch.manual_seed(3)
    first = change(batch)
    torch.manual_seed(3)
    assert torch.equal(change(batch), first)
    assert torch.equal(batch, before)
    assert first.shape == batch.shape
    assert first.dtype == batch.dtype
    assert first.min() >= 0
    assert first.max() <= 1
    assert not torch.equal(first, batch)


@pytest.mark.parametrize("change", [collimation(0.0), markers(0.0), RandomGamma((1.0, 1.0))])
def test_changes_that_are_switched_off_change_nothing(change):
    assert torch.equal(change(images()), images())


def test_all_transforms_of_train_yaml_repeat_under_a_seed_and_differ_by_image():
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.yaml"))
    parser["normalization"] = "$lambda image: image"  # the real one needs a datalist
    change = Compose(parser.get_parsed_content("train::transforms"))
    image = torch.rand(1, 1, 32, 32).expand(4, -1, -1, -1)
    torch.manual_seed(5)
    first = change(image)
    torch.manual_seed(5)
    assert torch.equal(first, change(image))
    assert not torch.equal(first[0], first[1])
    assert first.shape == image.shape
    assert first.dtype == image.dtype


@pytest.mark.parametrize(
    "still",
    [affine(), RandomBlur(0, (0.4, 0.9)), RandomGreyLevels(0, 0, 0)],
)
def test_augmentation_of_nothing_changes_nothing(still):
    image = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(still(image), image, atol=1e-5, rtol=0)


def test_rotation_keeps_a_disc_and_moves_a_corner():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 65), torch.linspace(-1, 1, 65), indexing="ij")
    disc = ((x**2 + y**2) < 0.5).float().expand(16, 1, -1, -1)
    turn = affine(rotate_degrees=30)
    torch.manual_seed(0)
    bar = (x.abs() < 0.1).float().expand(16, 1, -1, -1)
    disc_change, bar_change = ((turn(image) - image).abs().mean() / image.mean() for image in (disc, bar))
    assert disc_change < 0.05 < 0.3 < bar_change


def test_mirrored_images_are_as_frequent_as_asked():
    torch.manual_seed(0)
    ramp = torch.linspace(0, 1, 32).expand(1000, 1, 32, 32)
    mirrored = affine(flip_probability=0.3)(ramp)[:, 0, 16, 0] > 0.5
    assert mirrored.float().mean() == pytest.approx(0.3, abs=0.05)


def test_grey_levels_change_within_their_numbers():
    torch.manual_seed(0)
    factors = RandomGreyLevels(0.5, 0, 0)(torch.ones(2000, 1, 1, 1)).flatten()
    shifts = RandomGreyLevels(0, 0.3, 0)(torch.zeros(2000, 1, 1, 1)).flatten()
    deviations = RandomGreyLevels(0, 0, 0.15)(torch.zeros(2000, 1, 32, 32)).std(dim=(1, 2, 3))
    assert (factors.min(), factors.max()) == (pytest.approx(0.5, abs=0.02), pytest.approx(1.5, abs=0.02))
    assert (shifts.min(), shifts.max()) == (pytest.approx(-0.3, abs=0.02), pytest.approx(0.3, abs=0.02))
    assert (deviations.min(), deviations.max()) == (
        pytest.approx(0, abs=0.02),
        pytest.approx(0.15, abs=0.02),
    )


def test_blur_is_as_frequent_as_asked_and_keeps_the_mean():
    torch.manual_seed(0)
    image = torch.rand(400, 1, 32, 32)
    output = RandomBlur(0.25, (0.4, 0.9))(image)
    blurred = (output != image).flatten(1).any(1)
    assert blurred.float().mean() == pytest.approx(0.25, abs=0.07)
    assert (output.std(dim=(1, 2, 3)) < image.std(dim=(1, 2, 3)))[blurred].all()
    torch.testing.assert_close(output.mean(), image.mean(), atol=0.01, rtol=0)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), max_fraction=st.floats(0.01, 0.25))
def test_strips_leave_the_middle_and_have_one_level_each(seed, max_fraction):
    torch.manual_seed(seed)
    output = collimation(1, max_fraction=max_fraction)(images())
    changed = output != images()
    rows, columns = int(np.ceil(max_fraction * 100)), int(np.ceil(max_fraction * 200))
    assert not changed[..., rows : 100 - rows, columns : 200 - columns].any()
    for image, where in zip(output, changed, strict=True):
        levels = image[where].unique()
        assert len(levels) <= 1
        assert all(level <= 0.08 or level >= 0.92 for level in levels)


def test_crop_border_takes_the_strips_off():
    torch.manual_seed(0)
    for image in collimation(1, side_probability=0.5)(images(20)):
        cropped = CropBorder()(image)
        assert cropped.min() >= 0.2
        assert cropped.max() <= 0.8


def test_strips_are_as_frequent_as_asked():
    torch.manual_seed(0)
    output = collimation(0.5, side_probability=0.5, bright_probability=0.25, max_fraction=0.25)(
        torch.full((2000, 1, 101, 101), 0.5)
    )[:, 0]
    covered = output != 0.5
    some = covered.flatten(1).any(1)
    assert some.float().mean() == pytest.approx(0.5, abs=0.05)
    sides = covered[:, [0, -1], 50].sum(1) + covered[:, 50, [0, -1]].sum(1)
    # A strip narrower than half a pixel (2 % of them) is not seen.
    assert sides[some].float().mean() == pytest.approx(1 + 3 * 0.5, abs=0.1)
    assert (output.amax(dim=(1, 2)) > 0.9)[some].float().mean() == pytest.approx(0.25, abs=0.04)


def test_curves_are_powers_half_of_them_brighter():
    torch.manual_seed(0)
    batch = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(1, 1, 1, 4).repeat(4000, 1, 1, 1)
    output = RandomGamma((0.5, 2.0))(batch)[:, 0, 0]
    gamma = output[:, 2].log2().neg()
    assert torch.equal(output[:, [0, 3]], batch[:, 0, 0, [0, 3]])
    torch.testing.assert_close(output[:, 1], 0.25**gamma)
    assert 0.5 <= gamma.min() < 0.52
    assert 1.95 < gamma.max() <= 2
    assert (gamma < 1).float().mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: collimation(0.5, max_fraction=0), "max_fraction"),
        (lambda: collimation(0.5, max_fraction=0.3), "max_fraction"),
        (lambda: collimation(0.5, side_probability=2), "probability"),
        (lambda: RandomGamma((0.0, 2.0)), "gamma"),
        (lambda: RandomGamma((1.2, 2.0)), "gamma"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
