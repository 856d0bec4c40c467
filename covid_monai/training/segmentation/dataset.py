"""Images with masks for training and validation, and phantoms whose masks are known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor

from covid_monai.core.progress import with_progress
from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES
from covid_monai.lungs.masks import read_mask
from covid_monai.phantoms.radiograph import draw_lung_mask, draw_radiograph
from covid_monai.training.dataset import RadiographDataset


class MaskDataset(RadiographDataset):
    """Images and masks as uint8, in one gather per batch; see `RadiographDataset` for the other arguments.

    Args:
        records: Records with `image` and `mask` (paths), at least one.
        decoding: First part of `split_normalization`.
        image_size: S, rows and columns of an image and of a mask.
        phantoms: Number of synthetic radiographs to add, whose lungs are known.
        options: Further arguments of `RadiographDataset`.
    """

    def __init__(
        self,
        records: Sequence[dict],
        decoding: Compose,
        *,
        image_size: int,
        phantoms: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(records, decoding, image_size=image_size, **options)
        self._labels = torch.stack([read_mask(record["mask"], size=image_size) for record in records])
        if phantoms:
            drawn = [draw_phantom(n, size=image_size) for n in with_progress(range(phantoms), "phantoms")]
            own = self._images[torch.arange(len(records))]
            self._images = torch.cat([own, torch.stack([image for image, _ in drawn]).to(own.device)])
            self._labels = torch.cat([self._labels, torch.stack([mask for _, mask in drawn])])


def draw_phantom(number: int, *, size: int) -> tuple[Tensor, Tensor]:
    """Draw a phantom and its mask, each uint8 `[1, size, size]`; classes, sexes and views take turns."""
    person: dict[str, Any] = {"sex": "FM"[number % 2], "view": ("PA", "PA", "AP")[number // 2 % 3]}
    image = draw_radiograph(DEFAULT_CLASS_NAMES[number % 3], seed=number, size=size, **person)
    mask = draw_lung_mask(seed=number, size=size, **person)
    as_bytes = torch.from_numpy(np.stack([image, mask]) * 255).round().to(torch.uint8)
    return as_bytes[:1], as_bytes[1:]
