"""A batch of images and masks on its way to the network, and the random changes of both together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import PrepareBatch
from torch import Tensor

from covid_monai.training.augmentation import check_probabilities

_TILES = 4  # per side
Pair = tuple[Tensor, Tensor]  # images and masks, each [N, 1, S, S]


class PrepareMaskBatch(PrepareBatch):
    """Move images and masks to the device and apply transforms there.

    Args:
        transforms: Transforms in this order; the first gets images in [0, 1]. A transform of this module
            changes images and masks, all others the images only.
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        self.transforms = tuple(transforms)

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **_kwargs: Any,
    ) -> Pair:
        """Return images `[N, 1, S, S]`, channels last, and shares of background and lungs `[N, 2, S, S]`."""
        image, mask = (
            batchdata[key].to(device, non_blocking=non_blocking).float().div_(255)
            for key in ("image", "label")
        )
        for transform in self.transforms:
            if isinstance(transform, MoveWithMask | RandomNoChest):
                image, mask = transform(image, mask)
            else:
                image = transform(image)
            if isinstance(image, MetaTensor):  # MONAI's transforms add metadata, which is slower
                image = image.as_tensor()
        return image.contiguous(memory_format=torch.channels_last), torch.cat([1 - mask, mask], dim=1)


@dataclass(frozen=True)
class MoveWithMask:
    """Move images and their masks in the same way.

    Args:
        transform: Transform that moves all channels of an image alike, such as `RandomAffine`.
    """

    transform: Callable[[Tensor], Tensor]

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Return both, moved."""
        moved = self.transform(torch.cat([image, mask], dim=1))
        return moved[:, :1], moved[:, 1:]


@dataclass(frozen=True)
class RandomNoChest:
    """Turn some images into pictures without a chest, whose masks are empty.

    Half of them have their tiles shuffled and mirrored, half keep the strength of each spatial frequency but
    not its place. The network thus learns that lungs belong to a thorax. No other pictures are needed.

    Args:
        probability: Probability of an image, in [0, 1].
    """

    probability: float

    def __post_init__(self) -> None:
        check_probabilities(self.probability)

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Return images of any range, and masks."""
        draw = torch.rand(len(image), device=image.device)
        shuffled, scrambled = draw < self.probability / 2, draw >= 1 - self.probability / 2
        image = image.clone()
        for chosen, change in ((shuffled, _shuffle_tiles), (scrambled, _scramble_phases)):
            if chosen.any():  # the Fourier transform of no image is an error
                image[chosen] = change(image[chosen])
        empty = (shuffled | scrambled).view(-1, 1, 1, 1)
        return image, torch.where(empty, torch.zeros_like(mask), mask)


def _shuffle_tiles(image: Tensor) -> Tensor:
    count, side = len(image), image.shape[-1] // _TILES
    tiles = image.view(count, _TILES, side, _TILES, side).transpose(2, 3).flatten(1, 2)
    order = torch.rand(count, _TILES**2, device=image.device).argsort(dim=1)
    tiles = torch.where(torch.rand(count, 1, 1, 1, device=image.device) < 0.5, tiles.flip(2), tiles)
    tiles = tiles[torch.arange(count, device=image.device)[:, None], order]
    return torch.reshape(tiles.unflatten(1, (_TILES, _TILES)).transpose(2, 3), image.shape)


def _scramble_phases(image: Tensor) -> Tensor:
    turn = torch.fft.rfft2(torch.randn_like(image))
    turn = turn / turn.abs().clamp_min(1e-9)
    turn[..., 0, 0] = 1  # the mean stays
    scrambled: Tensor = torch.fft.irfft2(torch.fft.rfft2(image) * turn, s=image.shape[-2:])
    return scrambled
