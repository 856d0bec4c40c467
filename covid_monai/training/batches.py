"""A batch on its way through the network: moved to the device, transformed, computed."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import PrepareBatch
from monai.inferers import Inferer
from torch import Tensor

from covid_monai.core.errors import check_choice

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def default_precision(device: torch.device | str) -> str:
    """Return `bf16` where the device computes it, and `fp32` where it would be emulated.

    PyTorch emulates bf16 on processors without AVX-512, and a step then takes many times as long. On CUDA it
    emulates it before Ampere.
    """
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"


class PrepareImageBatch(PrepareBatch):
    """Move images and labels to the device and apply transforms to the images there.

    Args:
        transforms: Transforms of a batch `[N, C, H, W]`, in this order; the first gets images in [0, 1].
    """

    def __init__(self, transforms: Sequence[Callable[[Tensor], Tensor]]) -> None:
        self.transforms = tuple(transforms)

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **_kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Return images `[N, C, H, W]`, uint8 before, float32 and channels last now, and labels `[N]`."""
        label = batchdata["label"].to(device, non_blocking=non_blocking)
        image = batchdata["image"].to(device, non_blocking=non_blocking).float().div_(255)
        for transform in self.transforms:
            image = transform(image)
            if isinstance(image, MetaTensor):  # MONAI's transforms add metadata, which is slower
                image = image.as_tensor()
        return image.contiguous(memory_format=torch.channels_last), label


class AutocastInferer(Inferer):
    """Run the network under autocast and return float32 logits.

    MONAI's engines open `torch.autocast("cuda")` only. This one follows the device of the images, so that
    bf16 also works on a CPU. The loss is then computed in float32.

    Args:
        precision: "fp32", "bf16" or "fp16"; fp16 needs CUDA and the trainer's `amp: true`, which adds the
            gradient scaler.
    """

    def __init__(self, precision: str = "fp32") -> None:
        check_choice("precision", precision, PRECISIONS)
        self.precision = precision

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Return logits `[N, num_classes]` for images `[N, C, H, W]`."""
        enabled = self.precision != "fp32"
        with torch.autocast(inputs.device.type, dtype=PRECISIONS[self.precision], enabled=enabled):
            logits = network(inputs, *args, **kwargs)
        return logits.float()
