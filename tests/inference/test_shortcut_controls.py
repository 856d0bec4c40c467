"""Controls on a model: one that reads a corner is caught, one that reads the lungs is not."""

from pathlib import Path

import pytest
import torch
from monai.transforms import Compose
from torch import nn

from covid_monai.bundle import Bundle
from covid_monai.datasets.datalist import SPLITS, read_datalist
from covid_monai.inference.shortcut_controls import INPUTS, shortcut_controls
from covid_monai.phantoms.dataset import write_phantoms

pytestmark = pytest.mark.slow

BUNDLE = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"


class Reader(nn.Module):
    """Takes the mean of one part of the image for the probability of covid."""

    def __init__(self, rows: slice, columns: slice) -> None:
        super().__init__()
        self.part = (slice(None), 0, rows, columns)

    def forward(self, image):
        level = image[self.part].mean(dim=(1, 2))
        return torch.stack([torch.zeros_like(level), torch.zeros_like(level), level], dim=1)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle(BUNDLE, image_size=64, network_name="resnet10")


@pytest.fixture(scope="module")
def marked_images(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("marked") / "set"
    datalist = read_datalist(write_phantoms(folder, patients=60, size=64, ct=False, planted_marker="covid"))
    return [record for split in SPLITS for record in datalist.records(split)]


def test_model_that_reads_the_marker_is_caught(bundle, marked_images):
    corner = Reader(slice(-4, -2), slice(2, 4))
    found = shortcut_controls(bundle, marked_images, network=corner)
    assert [row["input"] for row in found["rows"]] == list(INPUTS)
    assert found["shortcut"] is True
    assert "Do not believe the headline" in found["sentence"]
    for row in found["rows"]:
        assert row["per_class"]["covid"]["low"] > 0.8


def test_model_that_reads_the_lungs_is_not(bundle, marked_images):
    lung = Reader(slice(24, 44), slice(8, 20))
    found = shortcut_controls(bundle, marked_images, network=lung)
    as_it_is, hidden, border = found["rows"]
    assert as_it_is["per_class"]["covid"]["low"] > 0.5, "here it sees the disease"
    assert hidden["per_class"]["covid"]["low"] < 0.5
    assert border["per_class"]["covid"]["low"] < 0.5
    assert found["shortcut"] is False
    assert "no better than chance" in found["sentence"]


def test_as_it_is_is_what_the_bundle_sees(bundle, marked_images):
    seen = []

    class Watch(Reader):
        def forward(self, image):
            seen.append(image.clone())
            return super().forward(image)

    shortcut_controls(bundle, marked_images[:5], network=Watch(slice(0, 8), slice(0, 8)))
    expected = bundle.preprocessing({"image": marked_images[0]["image"]})["image"].as_tensor()
    torch.testing.assert_close(seen[0][0], expected)
    assert not torch.equal(seen[0][1], expected)
    assert not torch.equal(seen[0][2], seen[0][1])


def test_one_class_says_so(bundle, marked_images):
    images = [record for record in marked_images if record["label"] == 0][:4]
    found = shortcut_controls(bundle, images, network=Reader(slice(0, 8), slice(0, 8)))
    assert found["shortcut"] is None
    assert "of one class" in found["sentence"]
    assert found["rows"][0]["auroc"]["value"] is None


def test_wrong_use_is_named(bundle, marked_images, tmp_path):
    with pytest.raises(ValueError, match="test split"):
        shortcut_controls(bundle, [])
    with pytest.raises(FileNotFoundError, match="no trained weights"):
        shortcut_controls(bundle.copy_to(tmp_path / "untrained"), marked_images)
    other = Bundle(BUNDLE, image_size=64)
    other.preprocessing = Compose(bundle.preprocessing.transforms[1:])
    with pytest.raises(ValueError, match="Begin it with LoadImaged"):
        shortcut_controls(other, marked_images, network=Reader(slice(0, 8), slice(0, 8)))
