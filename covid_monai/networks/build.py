"""Networks by name, and the optimizer's parameter groups."""

from collections.abc import Iterable

from monai.networks import nets
from torch import nn

from covid_monai.networks import efficientnet_lite

_DENSENETS = {
    "densenet121": nets.DenseNet121,
    "densenet169": nets.DenseNet169,
    "densenet201": nets.DenseNet201,
    "densenet264": nets.DenseNet264,
}
_RESNETS = {
    "resnet10": nets.resnet10,
    "resnet18": nets.resnet18,
    "resnet34": nets.resnet34,
    "resnet50": nets.resnet50,
    "resnet101": nets.resnet101,
    "resnet152": nets.resnet152,
}
NETWORK_NAMES = (*_DENSENETS, *_RESNETS, efficientnet_lite.NAME)


def build_network(name: str = "densenet121", *, num_classes: int, in_channels: int = 1) -> nn.Module:
    """Build a 2D classifier with random weights.

    Args:
        name: One of `NETWORK_NAMES`.
        num_classes: Outputs; logits `[N, num_classes]`.
        in_channels: Channels of the input `[N, in_channels, H, W]`.

    Raises:
        ValueError: If `name` is unknown.

    Reference: Huang 2017 (DenseNet), He 2016 (ResNet), Tan 2019 (EfficientNet). MONAI's 2D ResNet has a
    stem stride of 1 and a bias in the shortcut by default; here it is the network of the paper.

    >>> import torch
    >>> build_network("resnet18", num_classes=3)(torch.zeros(1, 1, 64, 64)).shape
    torch.Size([1, 3])
    """
    if name in _DENSENETS:
        return _DENSENETS[name](spatial_dims=2, in_channels=in_channels, out_channels=num_classes)
    if name in _RESNETS:
        return _RESNETS[name](
            spatial_dims=2,
            n_input_channels=in_channels,
            num_classes=num_classes,
            conv1_t_stride=2,
            bias_downsample=False,
        )
    if name == efficientnet_lite.NAME:
        return efficientnet_lite.build(num_classes=num_classes, in_channels=in_channels)
    raise ValueError(f"unknown network {name!r}; choose one of {', '.join(NETWORK_NAMES)}")


def classifier_head(network: nn.Module) -> nn.Linear:
    """The last linear layer of a network made by `build_network`."""
    if hasattr(network, "class_layers"):
        return network.class_layers.out
    return network._fc if hasattr(network, "_fc") else network.fc


def parameter_groups(
    network: nn.Module, *, learning_rate: float, backbone_factor: float = 1.0, weight_decay: float = 0.01
) -> list[dict]:
    """Groups for the optimizer: backbone and head, each with and without weight decay.

    Norm layers and biases take no decay. A backbone that starts from pretrained weights moves slower
    than the new head (discriminative learning rates, Howard and Ruder 2018).

    Args:
        network: From `build_network`.
        learning_rate: Of the head.
        backbone_factor: The backbone's rate as a multiple of the head's.
        weight_decay: For weights of two and more dimensions.
    """
    head = {id(p) for p in classifier_head(network).parameters()}
    groups = []
    for in_head, factor in ((False, backbone_factor), (True, 1.0)):
        parameters = [p for p in network.parameters() if (id(p) in head) is in_head]
        for decayed in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) is decayed]
            decay = weight_decay if decayed else 0.0
            groups.append({"params": chosen, "lr": learning_rate * factor, "weight_decay": decay})
    return groups


def backbone_parameters(network: nn.Module) -> Iterable[nn.Parameter]:
    """All parameters but the head's."""
    head = {id(p) for p in classifier_head(network).parameters()}
    return (p for p in network.parameters() if id(p) not in head)
