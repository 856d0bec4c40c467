"""Images with masks for training and validation, and phantoms whose masks are known or empty."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from numpy.typing import NDArray
from torch import Tensor

from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES
from covid_monai.lungs.masks import read_mask
from covid_monai.phantoms.ct_slice import draw_ct_slice
from covid_monai.phantoms.radiograph import draw_lung_mask, draw_radiograph
from covid_monai.training.dataset import RadiographDataset


class MaskDataset(RadiographDataset):
    """Images and masks as uint8, in one gather per batch; see `RadiographDataset` for the other arguments.

    Args:
        records: Records with `image` and `mask` (paths), at least one.
        decoding: First part of `split_normalization`.
        image_size: S, rows and columns of an image and of a mask.
        phantoms: Number of synthetic radiographs to add, whose lungs are known.
        ct_slices: Number of synthetic CT slices to add. Their masks are empty, because lungs are to be found
            in radiographs only.
        options: Further arguments of `RadiographDataset`.
    """

    def __init__(
        self,
        records: Sequence[dict],
        decoding: Compose,
        *,
        image_size: int,
        phantoms: int = 0,
        ct_slices: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(records, decoding, image_size=image_size, **options)
        self._labels = torch.stack([read_mask(record["mask"], size=image_size) for record in records])
        drawn = [draw_phantom(number, size=image_size) for number in range(phantoms)]
        drawn += [draw_no_radiograph(number, size=image_size) for number in range(ct_slices)]
        if drawn:
            own = self._images[torch.arange(len(records))]
            self._images = torch.cat([own, torch.stack([image for image, _ in drawn]).to(own.device)])
            self._labels = torch.cat([self._labels, torch.stack([mask for _, mask in drawn])])


def draw_phantom(number: int, *, size: int) -> tuple[Tensor, Tensor]:
    """Draw a phantom and its mask, each uint8 `[1, size, size]`; classes, sexes and views take turns."""
    person: dict[str, Any] = {"sex": "FM"[number % 2], "view": ("PA", "PA", "AP")[number // 2 % 3]}
    image = draw_radiograph(DEFAULT_CLASS_NAMES[number % 3], seed=number, size=size, **person)
    mask = draw_lung_mask(seed=number, size=size, **person)
    return _as_bytes(image), _as_bytes(mask)


def draw_no_radiograph(number: int, *, size: int) -> tuple[Tensor, Tensor]:
    """Draw a CT slice and its empty mask, each uint8 `[1, size, size]`."""
    picture = _as_bytes(draw_ct_slice(seed=number, size=size))
    return picture, torch.zeros_like(picture)


def _as_bytes(image: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(image[None] * 255).round().to(torch.uint8)
