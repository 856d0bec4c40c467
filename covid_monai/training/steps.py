"""What happens to a batch: onto the device, augmented, through the network in lower precision."""

from collections.abc import Callable
from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.inferers import Inferer
from torch import Tensor, nn

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class PrepareClassificationBatch(PrepareBatch):
    """Move images and labels to the device; bring the images to [0, 1], augment, normalise, augment there.

    Args:
        normalization: What is subtracted from images in [0, 1], and what they are then divided by; see
            `covid_monai.training.data.normalization`.
        augmentation: Takes and returns `[N, C, H, W]` in [0, 1]; None for validation.
        augment: Takes and returns the normalised `[N, C, H, W]`; None for validation.
    """

    def __init__(
        self,
        normalization: tuple[float, float],
        *,
        augmentation: Callable[[Tensor], Tensor] | None = None,
        augment: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.subtrahend, self.divisor = normalization
        self.augmentation = augmentation
        self.augment = augment

    def __call__(
        self, batchdata: dict[str, Tensor], device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Return image `[N, C, H, W]`, float32 and channels last, and label `[N]`.

        Args:
            batchdata: `image` `[N, C, H, W]` uint8, `label` `[N]`.
            device: Where to.
            non_blocking: See `torch.Tensor.to`.
            kwargs: Unused.
        """
        label = batchdata["label"].to(device, non_blocking=non_blocking)
        image = batchdata["image"].to(device, non_blocking=non_blocking).float().div_(255)
        if self.augmentation is not None:
            image = self.augmentation(image)
        image = image.sub(self.subtrahend).div_(self.divisor)
        if self.augment is not None:
            image = self.augment(image)
        return image.contiguous(memory_format=torch.channels_last), label


class AutocastInferer(Inferer):
    """Run the network under autocast and return float32 logits.

    MONAI's engines open `torch.autocast("cuda")` only; this one follows the tensor's own device, so bf16
    serves a CPU too. The loss is then computed in float32.

    Args:
        precision: "fp32", "bf16" or "fp16" (fp16 trains on CUDA with the trainer's `amp: true`, which
            brings the gradient scaler).
    """

    def __init__(self, precision: str = "fp32") -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
        self.precision = precision

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Return logits `[N, num_classes]` for images `[N, C, H, W]`."""
        if self.precision == "fp16" and inputs.device.type != "cuda":
            raise ValueError("precision fp16 needs CUDA; choose bf16 or fp32 on this device")
        enabled = self.precision != "fp32"
        with torch.autocast(inputs.device.type, dtype=PRECISIONS[self.precision], enabled=enabled):
            logits = network(inputs, *args, **kwargs)
        return logits.float()
