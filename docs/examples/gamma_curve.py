"""A transform that brightens or darkens an image by a power of its intensity."""

import torch
from monai.config import NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import TransformBackends

from covid_monai.transforms.base import EachKey, as_type_of, require_float


class GammaCurve(Transform):
    """Raise intensities to a power.

    Args:
        gamma: Exponent, greater than 0; below 1 brightens, above 1 darkens.

    Raises:
        ValueError: `gamma` is not greater than 0.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012  # MONAI's own attribute

    def __init__(self, *, gamma: float = 1.0) -> None:
        if not gamma > 0:
            raise ValueError(f"gamma must be greater than 0, got {gamma}.")
        self.gamma = gamma

    def __call__(self, image: NdarrayOrTensor) -> NdarrayOrTensor:
        """Apply the curve.

        Args:
            image: Array of any shape, floating point, intensities in [0, 1].

        Returns:
            Same type, shape, dtype and metadata as `image`, within [0, 1].
        """
        return as_type_of(torch.pow(require_float(image, "GammaCurve"), self.gamma), image)


class GammaCurved(EachKey):
    """Dictionary version of `GammaCurve`, with the same arguments; see also `EachKey`."""

    array_class = GammaCurve
