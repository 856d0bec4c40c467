"""What the transforms of this folder share: array types kept, one draw for all keys of a dictionary."""

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform, Transform
from monai.utils import TransformBackends


def as_plain_tensor(image: NdarrayOrTensor) -> torch.Tensor:
    """View `image` as a `torch.Tensor` without metadata.

    MONAI's own arithmetic on a `MetaTensor` costs five to ten times the arithmetic itself on a small
    radiograph, so the transforms here compute on plain tensors and wrap the result once.

    Args:
        image: Any shape. The result may share memory with it: write to a copy only.
    """
    if isinstance(image, MetaTensor):
        return image.as_tensor()
    if isinstance(image, torch.Tensor):
        return image
    # PyTorch takes neither negative strides (a flipped view) nor, without a warning, read-only memory.
    return torch.from_numpy(np.require(image, requirements=["C", "W"]))


def as_type_of(result: torch.Tensor, image: NdarrayOrTensor) -> NdarrayOrTensor:
    """Give `result` the container of `image`: numpy array, plain tensor, or `MetaTensor` with its metadata.

    The dtype stays that of `result`.
    """
    if isinstance(image, MetaTensor):
        return MetaTensor(result).copy_meta_from(image)
    if isinstance(image, torch.Tensor):
        return result
    return result.cpu().numpy()


def require_float(image: NdarrayOrTensor, name: str) -> torch.Tensor:
    """View `image` as a plain floating-point tensor.

    Args:
        image: Any shape, intensities in [0, 1].
        name: Transform that asks, for the error.

    Raises:
        ValueError: If `image` holds integers, whose scale is unknown here.
    """
    tensor = as_plain_tensor(image)
    if not tensor.is_floating_point():
        raise ValueError(
            f"{name} needs floating-point intensities in [0, 1] but got {image.dtype}: "
            "read with the project's readers, or put ScaleIntensity before it"
        )
    return tensor


class EachKey(MapTransform):
    """Apply one deterministic array transform to every key of a dictionary.

    Args:
        keys: Keys of the images to transform.
        transform: Array transform.
        allow_missing_keys: Skip a missing key instead of raising `KeyError`.
    """

    def __init__(self, keys: KeysCollection, transform: Transform, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of `data` with the images at `keys` transformed."""
        output = dict(data)
        for key in self.key_iterator(output):
            output[key] = self.transform(output[key])
        return output


class RandIntensity(RandomizableTransform):
    """Base of the random intensity transforms: `randomize` draws parameters, `apply` uses them.

    `transform(image, randomize=False)` repeats the last draw on another image. A skipped image is
    returned as it is, not copied.

    Args:
        prob: Probability in [0, 1] that an image is changed.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012  # MONAI's own attribute

    def __init__(self, prob: float) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must lie in [0, 1], got {prob}")
        # Nothing is drawn yet: a replay before the first draw changes nothing.
        super().__init__(prob, do_transform=False)

    @property
    def will_apply(self) -> bool:
        """Whether the last draw decided to change the image."""
        return bool(self._do_transform)

    @abstractmethod
    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """Return a changed copy of `image` under the parameters drawn last.

        Args:
            image: `[C, H, W]`, floating point, intensities in [0, 1].
        """

    def __call__(self, image: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        """Draw (unless `randomize` is false) and apply.

        Args:
            image: `[C, H, W]`, floating point, intensities in [0, 1].
            randomize: False repeats the last draw.

        Returns:
            Same type, shape, dtype and metadata as `image`, within [0, 1].

        Raises:
            ValueError: If `image` holds integers.
        """
        if randomize:
            self.randomize(None)
        if not self._do_transform:
            return image
        return as_type_of(self.apply(require_float(image, type(self).__name__)), image)


class RandEachKey(RandomizableTransform, MapTransform):
    """Apply one random array transform to every key of a dictionary, with the same draw for all keys.

    Args:
        keys: Keys of the images to transform.
        transform: Random array transform; its random state follows this one's.
        allow_missing_keys: Skip a missing key instead of raising `KeyError`.
    """

    backend = RandIntensity.backend

    def __init__(
        self, keys: KeysCollection, transform: RandIntensity, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, transform.prob, do_transform=False)
        self.transform = transform

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> "RandEachKey":
        """Seed this transform and the array transform inside, which share one random state."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw once for all keys."""
        self.transform.randomize(data)
        self._do_transform = self.transform.will_apply

    def __call__(self, data: Mapping[Hashable, Any], randomize: bool = True) -> dict[Hashable, Any]:
        """Return a copy of `data` with the images at `keys` transformed; see the array transform."""
        output = dict(data)
        if randomize:
            self.randomize()
        for key in self.key_iterator(output):
            output[key] = self.transform(output[key], randomize=False)
        return output
