"""Grad-CAM: against its definition, and on networks whose evidence is known."""

import numpy as np
import pytest
import torch
from torch import nn

from covid_monai.inference.grad_cam import HeatmapGenerator, target_layer, with_random_weights
from covid_monai.networks.build import NETWORK_NAMES, build_network

HEADS = {
    "resnet10": lambda network, features: network.fc(features.mean(dim=(2, 3))),
    "densenet121": lambda network, features: network.class_layers.out(features.mean(dim=(2, 3))),
    "efficientnet_lite0": lambda network, features: network._fc(network._swish(features).mean(dim=(2, 3))),
}


@pytest.mark.parametrize("name", HEADS)
def test_map_is_grad_cam_by_its_definition(name):
    torch.manual_seed(0)
    network = build_network(name, num_classes=3).eval()
    images = torch.rand(2, 1, 64, 64)
    maps = HeatmapGenerator(network)(images, 2)
    assert maps.shape == (2, 64, 64)
    assert maps.min() >= 0
    assert maps.max() <= 1
    kept = []
    layer = network.get_submodule(target_layer(network))
    layer.register_forward_hook(lambda _module, _input, output: kept.append(output.detach()))
    network(images)
    features = kept[0].requires_grad_()
    gradient = torch.autograd.grad(HEADS[name](network, features)[:, 2].sum(), features)[0]
    raw = torch.relu((gradient.mean(dim=(2, 3), keepdim=True) * features).sum(1, keepdim=True))
    expected = nn.functional.interpolate(raw, size=(64, 64), mode="bilinear")[:, 0].detach().numpy()
    highest = expected.max(axis=(1, 2), keepdims=True)
    expected = np.divide(expected, highest, out=np.zeros_like(expected), where=highest > 0)
    np.testing.assert_allclose(maps, expected, atol=1e-4)


@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_every_network_has_a_layer_for_it(name):
    network = build_network(name, num_classes=2)
    assert target_layer(network) in dict(network.named_modules())


def test_grid_is_that_of_the_layer():
    heatmap = HeatmapGenerator(build_network("resnet10", num_classes=2))
    assert heatmap.grid(torch.rand(1, 1, 64, 96)) == (2, 3)


def test_each_image_of_a_batch_has_the_map_it_has_alone():
    torch.manual_seed(1)
    heatmap, images = HeatmapGenerator(build_network("resnet10", num_classes=2)), torch.rand(3, 1, 64, 64)
    alone = np.concatenate([heatmap(images[i : i + 1], 1) for i in range(3)])
    np.testing.assert_allclose(heatmap(images, 1), alone, atol=1e-5)


def test_map_without_evidence_is_empty_rather_than_all_hot():
    network = build_network("resnet10", num_classes=2)
    nn.init.zeros_(network.fc.weight)
    assert not HeatmapGenerator(network)(torch.rand(1, 1, 64, 64), 0).any()


def test_network_is_left_as_it_was():
    network = build_network("densenet121", num_classes=2).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        HeatmapGenerator(network)(torch.rand(1, 1, 64, 64), 0)
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_random_weights_follow_the_seed_and_replace_every_layer():
    network = build_network("resnet10", num_classes=2)
    nn.init.ones_(network.bn1.running_mean)
    state = torch.random.get_rng_state()
    one, same, other = (with_random_weights(network, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(one.conv1.weight, same.conv1.weight)
    for a, b in ((one, other), (one, network)):
        assert not torch.equal(a.conv1.weight, b.conv1.weight)
        assert not torch.equal(a.fc.weight, b.fc.weight)
    assert not one.bn1.running_mean.any()


def test_unknown_family_is_named():
    with pytest.raises(ValueError, match=r"network of covid_monai.networks, not Sequential"):
        HeatmapGenerator(nn.Sequential(nn.Linear(2, 2)))
