"""Pretrained weights, public or local, for all layers except the head."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from covid_monai.core.number_format import format_count
from covid_monai.networks import efficientnet_lite

# As published with torchvision; the hexadecimal part of a name is the start of the file's SHA-256.
_PUBLISHER = "https://download.pytorch.org/models/"
IMAGENET_FILES = {
    "densenet121": "densenet121-a639ec97.pth",
    "densenet169": "densenet169-b2777c0a.pth",
    "densenet201": "densenet201-c1103571.pth",
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "resnet152": "resnet152-394f9c45.pth",
}
_HEADS = ("class_layers.out.", "fc.", "_fc.", "classifier.")
# torchvision's first DenseNet files wrote "norm.1" where MONAI has "layers.norm1".
_DENSENET_KEY = re.compile(r"^(.*denselayer\d+)\.(norm|relu|conv)\.?([12])\.(.*)$")


def load_pretrained(network: nn.Module, weights: str | Path | None, *, name: str) -> nn.Module:
    """Copy pretrained weights into all layers except the head.

    A first convolution trained on RGB is summed over its input channels. On a grey image this gives the same
    activations as three equal channels.

    Args:
        network: Network of `build_network(name, ...)`, which is changed in place and returned.
        weights: "imagenet" (fetched from the publisher and checked against the start of its SHA-256), or a
            local file: a state dict, or a dictionary with one under `model`, `state_dict` or `network`. None
            leaves the network as it is.
        name: Name of the network.

    Raises:
        FileNotFoundError: The local file is missing, or the publisher cannot be reached.
        ValueError: The weights do not fit the network.
    """
    if weights is None:
        return network
    state = _fetch_imagenet(name) if str(weights) == "imagenet" else _read_weights(Path(weights))
    if name == efficientnet_lite.NAME:
        state = efficientnet_lite.convert_weights(state, network)
    else:
        names = (_DENSENET_KEY.sub(r"\1.layers.\2\3.\4", key.removeprefix("module.")) for key in state)
        state = dict(zip(names, state.values(), strict=True))
        _sum_first_convolution(network, state)
    _load_all_but_head(network, state, source=str(weights))
    return network


def find_not_finite(state: Mapping[str, Any]) -> str | None:
    """Return the name of the first tensor of a state dict with a value that is infinite or not a number."""
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and not torch.isfinite(value).all():
            return name
    return None


def _fetch_imagenet(name: str) -> dict[str, torch.Tensor]:
    if name == efficientnet_lite.NAME:
        return _read_weights(efficientnet_lite.published_weights())
    if name not in IMAGENET_FILES:
        raise ValueError(
            f"There are no published ImageNet weights for {name}. Choose one of: "
            f"{', '.join([*IMAGENET_FILES, efficientnet_lite.NAME])}."
        )
    file = IMAGENET_FILES[name]
    try:
        return dict(torch.hub.load_state_dict_from_url(_PUBLISHER + file, check_hash=True, weights_only=True))
    except OSError as error:
        raise FileNotFoundError(
            f"{_PUBLISHER}{file} could not be fetched ({error}). Fetch it on a machine with internet and "
            f"give its path: --pretrained /path/to/{file}"
        ) from error


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"There are no weights at {path}. Give an existing file, or 'imagenet'.")
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("model", "state_dict", "network"):
        content = content.get(key, content)
    return content


def _sum_first_convolution(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    key = "features.conv0.weight" if "features.conv0.weight" in state else "conv1.weight"
    own = network.state_dict().get(key)
    if own is not None and key in state and state[key].shape[1] == 3 and own.shape[1] == 1:
        state[key] = state[key].sum(dim=1, keepdim=True)


def _load_all_but_head(network: nn.Module, state: dict[str, torch.Tensor], *, source: str) -> None:
    shapes = {key: value.shape for key, value in network.state_dict().items() if _is_body(key)}
    given = {key: value for key, value in state.items() if _is_body(key)}
    wrong = sorted(key for key in shapes | given if key not in given or shapes.get(key) != given[key].shape)
    if wrong:
        raise ValueError(
            f"The weights {source} do not fit the network: {format_count(len(wrong), 'tensor')} missing, "
            f"unknown or of another shape, such as {wrong[0]}. Give weights of this network."
        )
    if broken := find_not_finite(given):
        raise ValueError(
            f"The weights {source} hold values that are infinite or not a number, in {broken}. Give other "
            "weights."
        )
    network.load_state_dict(given, strict=False)


def _is_body(key: str) -> bool:
    # Older files have no num_batches_tracked, which only matters without a momentum.
    return not key.startswith(_HEADS) and not key.endswith("num_batches_tracked")
