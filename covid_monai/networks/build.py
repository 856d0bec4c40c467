"""Networks by name, and parameter groups for the optimizer."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast

from monai.networks import nets
from torch import nn

from covid_monai.core.errors import check_choice
from covid_monai.networks import efficientnet_lite

NETWORK_NAMES = (
    *(f"densenet{layers}" for layers in (121, 169, 201, 264)),
    *(f"resnet{layers}" for layers in (10, 18, 34, 50, 101, 152)),
    efficientnet_lite.NAME,
)


def build_network(name: str = "densenet121", *, num_classes: int, in_channels: int = 1) -> nn.Module:
    """Build a 2D classifier with random weights.

    Args:
        name: Name of the network, one of `NETWORK_NAMES`.
        num_classes: Number of outputs; logits are `[N, num_classes]`.
        in_channels: Number of channels of the input `[N, in_channels, H, W]`.

    Raises:
        ValueError: `name` is unknown.

    Reference: Huang 2017 (DenseNet), He 2016 (ResNet), Tan 2019 (EfficientNet). The ResNet is the network of
    the paper: MONAI's defaults for 2D, a stem stride of 1 and a bias in the shortcut, are not used.

    >>> import torch
    >>> build_network("resnet18", num_classes=3)(torch.zeros(1, 1, 64, 64)).shape
    torch.Size([1, 3])
    """
    check_choice("network", name, NETWORK_NAMES)
    if name == efficientnet_lite.NAME:
        return efficientnet_lite.build(num_classes=num_classes, in_channels=in_channels)
    build: Callable[..., nn.Module] = getattr(nets, name)
    if name.startswith("densenet"):
        return build(spatial_dims=2, in_channels=in_channels, out_channels=num_classes)
    return build(
        spatial_dims=2,
        n_input_channels=in_channels,
        num_classes=num_classes,
        conv1_t_stride=2,
        bias_downsample=False,
    )


def classifier_head(network: nn.Module) -> nn.Linear:
    """Return the last linear layer of a network of `build_network`."""
    for name in ("class_layers.out", "_fc", "fc"):
        with suppress(AttributeError):
            return cast("nn.Linear", network.get_submodule(name))
    raise ValueError(
        "The network has no last layer named fc, _fc or class_layers.out. Rename its last layer."
    )


def parameter_groups(
    network: nn.Module, *, learning_rate: float, backbone_factor: float = 1.0, weight_decay: float = 0.01
) -> list[dict[str, Any]]:
    """Return groups for the optimizer: backbone and head, each with and without weight decay.

    Norm layers and biases have no decay. A backbone with pretrained weights learns slower than the new head
    (discriminative learning rates, Howard and Ruder 2018).

    Args:
        network: Network of `build_network`.
        learning_rate: Learning rate of the head.
        backbone_factor: Learning rate of the backbone divided by that of the head.
        weight_decay: Decay of weights with two or more dimensions.
    """
    groups = []
    head = list(classifier_head(network).parameters())
    for parameters, factor in ((list(backbone_parameters(network)), backbone_factor), (head, 1.0)):
        for decayed in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) is decayed]
            decay = weight_decay if decayed else 0.0
            groups.append({"params": chosen, "lr": learning_rate * factor, "weight_decay": decay})
    return groups


def backbone_parameters(network: nn.Module) -> Iterable[nn.Parameter]:
    """Return all parameters except those of the head."""
    head = {id(p) for p in classifier_head(network).parameters()}
    return (p for p in network.parameters() if id(p) not in head)
