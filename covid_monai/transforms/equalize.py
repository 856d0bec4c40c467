"""Contrast-limited adaptive histogram equalisation of radiographs."""

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import TransformBackends
from skimage.exposure import equalize_adapthist

from covid_monai.transforms.base import EachKey, as_type_of, require_float


class CLAHE(Transform):
    """Equalise the histogram locally, with a bound on the contrast gained.

    Each channel is stretched to its own full range first (scikit-image does), so the result does not depend
    on a linear change of exposure. A constant channel stays as it is.

    Args:
        clip_limit: Bound on the contrast in (0, 1]; higher gives more contrast.
        tiles: Number of tiles along each axis, at least 1.
        bins: Grey levels of the histograms, at least 2.

    Raises:
        ValueError: If an argument is out of its range.

    Reference: Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV, 1994;
    `skimage.exposure.equalize_adapthist`.
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012  # MONAI's own attribute

    def __init__(self, *, clip_limit: float = 0.01, tiles: int = 8, bins: int = 256) -> None:
        if not 0 < clip_limit <= 1:
            raise ValueError(f"clip_limit must lie in (0, 1], got {clip_limit}")
        if tiles < 1 or bins < 2:
            raise ValueError(f"tiles must be at least 1 and bins at least 2, got {tiles} and {bins}")
        self.clip_limit = clip_limit
        self.tiles = tiles
        self.bins = bins

    def __call__(self, image: NdarrayOrTensor) -> NdarrayOrTensor:
        """Equalise every channel on its own.

        Args:
            image: `[C, H, W]`, floating point, intensities in [0, 1].

        Returns:
            Same type, shape, dtype and metadata as `image`, within [0, 1].

        Raises:
            ValueError: If `image` holds integers, or values outside [0, 1].
        """
        tensor = require_float(image, "CLAHE")
        # float32 or wider: neither NumPy nor scikit-image has all half precisions.
        pixels = tensor.to(torch.promote_types(tensor.dtype, torch.float32)).cpu().numpy()
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # NaN fails both
            raise ValueError(
                f"CLAHE needs intensities in [0, 1] but got {pixels.min():g} to {pixels.max():g}: "
                "put PercentileRescale or ScaleIntensity before it"
            )
        equalized = np.stack([self._equalize(channel) for channel in pixels])
        return as_type_of(torch.from_numpy(equalized).to(tensor), image)

    def _equalize(self, channel: np.ndarray) -> np.ndarray:
        if channel.min() == channel.max():
            return channel
        tile = [max(1, size // self.tiles) for size in channel.shape]
        return equalize_adapthist(channel, kernel_size=tile, clip_limit=self.clip_limit, nbins=self.bins)


class CLAHEd(EachKey):
    """Dictionary version of `CLAHE`.

    Args:
        keys: Keys of the images.
        clip_limit: See `CLAHE`.
        tiles: See `CLAHE`.
        bins: See `CLAHE`.
        allow_missing_keys: Skip a missing key instead of raising `KeyError`.
    """

    backend = CLAHE.backend

    def __init__(
        self,
        keys: KeysCollection,
        *,
        clip_limit: float = 0.01,
        tiles: int = 8,
        bins: int = 256,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, CLAHE(clip_limit=clip_limit, tiles=tiles, bins=bins), allow_missing_keys)
