"""A transform: images brightened or darkened by a power of their intensity."""

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import TransformBackends

from covid_monai.transforms.base import EachKey, as_type_of, require_float


class GammaCurve(Transform):
    """Raise intensities to a power.

    Args:
        gamma: Greater than 0; below 1 brightens, above 1 darkens.

    Raises:
        ValueError: If `gamma` is not greater than 0.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012  # MONAI's own attribute

    def __init__(self, *, gamma: float = 1.0) -> None:
        if not gamma > 0:
            raise ValueError(f"gamma must be greater than 0, got {gamma}")
        self.gamma = gamma

    def __call__(self, image: NdarrayOrTensor) -> NdarrayOrTensor:
        """Apply the curve.

        Args:
            image: Any shape, floating point, intensities in [0, 1].

        Returns:
            Same type, shape, dtype and metadata as `image`, within [0, 1].
        """
        return as_type_of(torch.pow(require_float(image, "GammaCurve"), self.gamma), image)


class GammaCurved(EachKey):
    """Dictionary version of `GammaCurve`.

    Args:
        keys: Keys of the images.
        gamma: See `GammaCurve`.
        allow_missing_keys: Skip a missing key instead of raising `KeyError`.
    """

    backend = GammaCurve.backend

    def __init__(self, keys: KeysCollection, *, gamma: float = 1.0, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, GammaCurve(gamma=gamma), allow_missing_keys)
