"""Images for training and validation: decoded once and returned by the batch as uint8."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from monai.transforms import Compose, NormalizeIntensity, NormalizeIntensityd
from torch import Tensor
from torch.utils.data import Dataset

from covid_monai.core.errors import unknown_choice
from covid_monai.core.parallel import map_in_threads
from covid_monai.training.image_cache import CachedImages, ImageCache

CACHES = ("disk", "memory")
_SHARE_OF_DEVICE = 0.5  # of the free memory of a GPU, for images


class RadiographDataset(Dataset):
    """Images in [0, 1] as uint8, as the preprocessing leaves them before the normalisation.

    A `DataLoader` asks for a whole batch at once and gets it in one gather: give it a `collate_fn` that
    changes nothing, and no workers. `PrepareImageBatch` turns a batch into the network's input. The images
    are kept on a GPU if they fit into half of its free memory.

    Args:
        records: Records with `image` (path) and `label` (class index), at least one; other keys are dropped.
        decoding: First part of `split_normalization`: `{"image": path}` to `{"image": [1, S, S]}`.
        image_size: S, rows and columns of an image.
        cache: "disk" (in `cache_dir`, shared with other runs and processes) or "memory" (of this process).
        cache_dir: Folder for "disk", for this preprocessing alone.
        workers: Number of threads that decode; by default, the number of processors.
        device: Device that the batches go to.

    Raises:
        RuntimeError: If a file cannot be read; MONAI's, with the reader's own error as its cause.
    """

    def __init__(
        self,
        records: Sequence[dict],
        decoding: Compose,
        *,
        image_size: int,
        cache: str = "memory",
        cache_dir: str | Path = "cache",
        workers: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        files = [record["image"] for record in records]
        decode = partial(decode_image, decoding=decoding)
        if cache == "disk":
            self._images: CachedImages | Tensor = ImageCache(cache_dir, size=image_size).images(
                files, decode, workers=workers
            )
        elif cache == "memory":
            images = map_in_threads(decode, files, "decoding images", total=len(files), workers=workers)
            self._images = torch.stack(list(images))
        else:
            raise ValueError(unknown_choice("cache", cache, CACHES))
        self._labels = torch.tensor([record["label"] for record in records])
        device = torch.device(device)
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if len(files) * image_size**2 < free * _SHARE_OF_DEVICE:
                self._images = self._images[torch.arange(len(files))].to(device)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return `image` `[1, S, S]` uint8 and its `label`."""
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return `image` `[N, 1, S, S]` uint8 and `label` `[N]`."""
        positions = torch.as_tensor(indices)
        held_by = self._images.device if isinstance(self._images, Tensor) else positions.device
        return {"image": self._images[positions.to(held_by)], "label": self._labels[positions]}


def split_normalization(preprocessing: Compose) -> tuple[Compose, NormalizeIntensity]:
    """Split a bundle's preprocessing into the steps that make images in [0, 1], and the normalisation.

    Training applies the first part once and keeps its result as uint8. It applies the second part to each
    batch, after the augmentation of images in [0, 1].
    """
    *steps, last = preprocessing.transforms
    if isinstance(last, NormalizeIntensityd):
        constants = (last.normalizer.subtrahend, last.normalizer.divisor)
        if all(isinstance(constant, int | float) for constant in constants):
            return Compose(steps), last.normalizer
    raise ValueError(
        "The preprocessing must end in NormalizeIntensityd with a number as subtrahend and as divisor, "
        "because the augmentation comes before it. Add that step to `preprocessing` in inference.yaml."
    )


def decode_image(file: str, decoding: Compose) -> Tensor:
    """Read one image as uint8 `[1, S, S]`: the nearest of 256 levels between 0 and 1."""
    image = torch.as_tensor(decoding({"image": file})["image"].as_tensor())
    low, high = image.aminmax()
    if low < 0 or high > 1:
        raise ValueError(
            f"{file}: the preprocessing leaves values from {low:.3g} to {high:.3g} and must leave images "
            "in [0, 1] before its normalisation. Rescale them in `preprocessing` in inference.yaml."
        )
    return image.mul(255).round_().to(torch.uint8)
