"""Public or local weights for all layers but the head."""

import re
from pathlib import Path

import torch
from torch import nn

from covid_monai.networks import efficientnet_lite

# As published with torchvision; the hexadecimal part of a name is the head of the file's SHA-256.
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
    """Copy public or local weights into all layers but the head; None leaves the network as it is.

    A first convolution trained on RGB is summed over its input channels, which for a grey picture
    gives the same activations as three equal channels.

    Args:
        network: From `build_network(name, ...)`; changed in place and returned.
        weights: "imagenet" (fetched from the publisher, checked against the head of its SHA-256), or a
            local file: a state dict, or a dictionary with one under `model`, `state_dict` or `network`.
        name: The network's name.

    Raises:
        FileNotFoundError: If the local file is missing, or the publisher cannot be reached.
        ValueError: If the weights do not fit the network.
    """
    if weights is None:
        return network
    state = _fetch_imagenet(name) if str(weights) == "imagenet" else _read_weights(Path(weights))
    if name == efficientnet_lite.NAME:
        state = efficientnet_lite.to_monai(state, network)
    else:
        state = {_monai_key(key): value for key, value in state.items()}
        _sum_first_convolution(network, state)
    _load_all_but_head(network, state, source=str(weights))
    return network


def _fetch_imagenet(name: str) -> dict[str, torch.Tensor]:
    if name == efficientnet_lite.NAME:
        return _read_weights(efficientnet_lite.published_weights())
    if name not in IMAGENET_FILES:
        raise ValueError(
            f"no ImageNet weights are published for {name}; there are: {', '.join(IMAGENET_FILES)}, "
            f"{efficientnet_lite.NAME}"
        )
    file = IMAGENET_FILES[name]
    try:
        return torch.hub.load_state_dict_from_url(_PUBLISHER + file, check_hash=True, weights_only=True)
    except OSError as error:
        raise FileNotFoundError(
            f"could not fetch {_PUBLISHER}{file} ({error}). Fetch it on a machine with internet and give its "
            "path: --pretrained /path/to/" + file
        ) from error


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: give an existing file, or 'imagenet'")
    content = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("model", "state_dict", "network"):
        content = content.get(key, content)
    return content


def _monai_key(key: str) -> str:
    return _DENSENET_KEY.sub(r"\1.layers.\2\3.\4", key.removeprefix("module."))


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
            f"{source} does not fit the network: {len(wrong)} layers are missing, too many or of another "
            f"shape, such as {wrong[0]}"
        )
    network.load_state_dict(given, strict=False)


def _is_body(key: str) -> bool:
    # num_batches_tracked is absent from files that predate it, and only matters without a momentum.
    return not key.startswith(_HEADS) and not key.endswith("num_batches_tracked")
