"""Images for training and validation: decoded once, handed out by the batch as uint8."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from monai.transforms import Compose, NormalizeIntensityd
from torch import Tensor
from torch.utils.data import Dataset

from covid_monai.core.parallel import map_in_threads
from covid_monai.training.image_cache import ImageCache

CACHES = ("disk", "memory")
_SHARE_OF_DEVICE = 0.5  # of its free memory, for images


class RadiographDataset(Dataset):
    """Preprocessed images up to, but without, the normalisation, as uint8 of [0, 1].

    A `DataLoader` asks for a whole batch at once and gets it in one gather: give it a `collate_fn` that
    changes nothing, and no workers. `PrepareClassificationBatch` turns a batch into the network's input.
    Where the images of the split fit half of a GPU's free memory, they lie there.

    Args:
        records: `image` (path) and `label` (class index), at least one; other keys are dropped.
        preprocessing: The bundle's own, `{"image": path}` to `{"image": [1, S, S]}`.
        image_size: S.
        cache: "disk" (below `cache_dir`, shared with other runs and processes) or "memory" (of this process).
        cache_dir: Folder for "disk", of this preprocessing alone.
        workers: Threads that decode; the number of processors by default.
        device: Where the batches go.

    Raises:
        ValueError: If `cache` is unknown, or the preprocessing does not end in the normalisation of [0, 1].
        RuntimeError: If a file cannot be read; MONAI's, with the reader's own error as its cause.
        OSError: If the cache cannot be written.
    """

    def __init__(
        self,
        records: Sequence[dict],
        preprocessing: Compose,
        *,
        image_size: int,
        cache: str = "memory",
        cache_dir: str | Path = "cache",
        workers: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        normalization(preprocessing)
        files = [record["image"] for record in records]
        decode = partial(decode_image, steps=Compose(preprocessing.transforms[:-1]))
        if cache == "disk":
            self._images = ImageCache(cache_dir, size=image_size).images(files, decode, workers=workers)
        elif cache == "memory":
            images = map_in_threads(decode, files, "decoding images", total=len(files), workers=workers)
            self._images = torch.stack(list(images))
        else:
            raise ValueError(f"unknown cache {cache!r}; choose one of {', '.join(CACHES)}")
        self._labels = torch.tensor([record["label"] for record in records])
        self._device = torch.device(device)
        if self._device.type == "cuda" and len(files) * image_size**2 < _free_bytes(self._device):
            self._images = self._images[torch.arange(len(files))].to(self._device)

    def __len__(self) -> int:
        """Count the images."""
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One image, `image` `[1, S, S]` uint8, and its `label`."""
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """`image` `[N, 1, S, S]` uint8 and `label` `[N]`."""
        positions = torch.as_tensor(indices)
        held_by = self._images.device if isinstance(self._images, Tensor) else positions.device
        return {"image": self._images[positions.to(held_by)], "label": self._labels[positions]}


def _free_bytes(device: torch.device) -> float:
    free, _ = torch.cuda.mem_get_info(device)
    return free * _SHARE_OF_DEVICE


def decode_image(file: str, steps: Compose) -> Tensor:
    """Read one image as uint8 `[1, S, S]`: the nearest of 256 levels between 0 and 1, which `steps` give.

    Raises:
        ValueError: If `steps` leave values outside [0, 1].
        RuntimeError: If the file cannot be read; MONAI's, with the reader's own error as its cause.
    """
    image = torch.as_tensor(steps({"image": file})["image"].as_tensor())
    low, high = image.aminmax()
    if low < 0 or high > 1:
        raise ValueError("the preprocessing must leave images in [0, 1] before its normalisation")
    return image.mul(255).round_().to(torch.uint8)


def normalization(preprocessing: Compose) -> tuple[float, float]:
    """What the preprocessing's last step subtracts from images in [0, 1], and then divides by.

    Raises:
        ValueError: If the last step is no `NormalizeIntensityd` with two numbers.
    """
    last = preprocessing.transforms[-1]
    if isinstance(last, NormalizeIntensityd):
        constants = (last.normalizer.subtrahend, last.normalizer.divisor)
        if all(isinstance(constant, int | float) for constant in constants):
            return constants
    raise ValueError(
        "the preprocessing must end in NormalizeIntensityd with a number as subtrahend and as divisor: "
        "augmentation goes before it"
    )


def check_records(
    train_records: Sequence[dict],
    val_records: Sequence[dict],
    *,
    class_names: Sequence[str],
    world_size: int = 1,
) -> None:
    """Refuse, before anything is decoded, splits that would end a training in its first epoch.

    Raises:
        ValueError: If a class has no training image, if the validation split has fewer than two classes,
            or fewer images than there are processes.
    """
    trained = {record["label"] for record in train_records}
    missing = [name for label, name in enumerate(class_names) if label not in trained]
    if missing:
        raise ValueError(
            f"the training split has no image of class {', '.join(missing)}; prepare the datalist without "
            "it (--classes)"
        )
    if len({record["label"] for record in val_records}) < 2 or len(val_records) < world_size:
        raise ValueError(
            f"the validation split has {len(val_records)} images and fewer than two classes, or fewer images "
            "than processes: prepare the datalist with a larger --validation-fraction"
        )
