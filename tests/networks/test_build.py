"""Networks are those of the papers; weights get in whole or not at all."""

import pytest
import torch

from covid_monai.networks.build import (
    NETWORK_NAMES,
    backbone_parameters,
    build_network,
    classifier_head,
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet121", "resnet18", "efficientnet_lite0"])
def test_torchscript_of_a_network_sees_what_the_network_sees(name):
    torch.manual_seed(0)
    network, image = build_network(name, num_classes=3).eval(), torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(torch.jit.script(network)(image), network(image), atol=1e-5)
