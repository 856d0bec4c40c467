"""Common parts of the transforms: conversion of array types, and a dictionary version of any array class."""

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform


def as_plain_tensor(image: NdarrayOrTensor) -> torch.Tensor:
    """View `image` as a `torch.Tensor` without metadata.

    MONAI's own arithmetic on a `MetaTensor` costs five to ten times the arithmetic itself on a small
    radiograph, so the transforms here compute on plain tensors and wrap the result once. The result may share
    memory with `image`: write to a copy only.
    """
    if isinstance(image, torch.Tensor):
        return image.as_subclass(torch.Tensor)
    # PyTorch takes neither negative strides (a flipped view) nor, without a warning, read-only memory.
    return torch.from_numpy(np.require(image, requirements=["C", "W"]))


def as_type_of(result: torch.Tensor, image: NdarrayOrTensor) -> NdarrayOrTensor:
    """Give `result` the container of `image`: numpy array, plain tensor, or `MetaTensor` with its metadata.

    The dtype stays that of `result`.
    """
    if isinstance(image, MetaTensor):
        copy: MetaTensor = MetaTensor(result).copy_meta_from(image)
        return copy
    if isinstance(image, torch.Tensor):
        return result
    return result.cpu().numpy()


def require_float(image: NdarrayOrTensor, name: str) -> torch.Tensor:
    """View `image` as a plain floating-point tensor; integers, of unknown scale, are a `ValueError`."""
    tensor = as_plain_tensor(image)
    if not tensor.is_floating_point():
        raise ValueError(
            f"{name} needs floating-point intensities in [0, 1] but got {image.dtype}. "
            "Read the image with the project's readers, or put ScaleIntensity before this transform."
        )
    return tensor


class EachKey(MapTransform):
    """Dictionary version of a deterministic array transform, which is applied to every key.

    A subclass names the array transform in `array_class`.

    Args:
        keys: Keys of the images to transform.
        allow_missing_keys: Skip a missing key instead of raising `KeyError`.
        options: Arguments of the array transform.
    """

    array_class: ClassVar[type[Transform]]

    def __init_subclass__(cls) -> None:
        cls.backend = cls.array_class.backend

    def __init__(self, keys: KeysCollection, *, allow_missing_keys: bool = False, **options: Any) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = self.array_class(**options)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of `data` with the images at `keys` transformed."""
        output = dict(data)
        for key in self.key_iterator(output):
            output[key] = self.transform(output[key])
        return output
