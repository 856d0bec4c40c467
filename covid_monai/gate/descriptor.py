"""Description of a preprocessed image by a few hundred numbers: where it is bright, how bright, how sharp.

The numbers come from the image and not from the classifier's network, whose features tell hospitals rather
than chests. With one of four collections left out and a limit that 99 % of the other validation images pass,
the distance of a ResNet18's features refused 3 to 82 % of the images left out. That of these numbers refused
1 to 6 %.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

THUMBNAIL = 16  # rows and columns
LEVELS = 8
BANDS = 12
LAYOUT = (THUMBNAIL, LEVELS, BANDS)
_LOWEST_POWER = 1e-3  # keeps the logarithm of an empty band finite

Floats = NDArray[np.float64]


def describe(image: Tensor) -> Floats:
    """Return thumbnail, grey levels and spectrum of a preprocessed image `[1, S, S]`, S at least `THUMBNAIL`.

    The image is scaled to [0, 1] first, so that the constants of the normalisation do not matter.

    Returns:
        `[D]`, D = 16 * 16 + 8 + 12: mean grey of each field of a 16 x 16 grid, row by row; share of the
        pixels in each eighth of the grey range; logarithm of the power in bands of spatial frequency.

    >>> describe(torch.rand(1, 64, 64)).shape
    (276,)
    """
    grey = image[0].float().cpu()
    darkest, brightest = grey.min(), grey.max()
    grey = (grey - darkest) / (brightest - darkest).clamp_min(1e-6)
    fields = adaptive_avg_pool2d(grey[None], THUMBNAIL).flatten()
    shares = torch.histc(grey, LEVELS, 0.0, 1.0) / grey.numel()
    return torch.cat([fields, shares, _spectrum(grey)]).double().numpy()


def thumbnail(descriptor: Floats) -> Floats:
    """Return the grid of a descriptor, or of several: `[..., D]` to `[..., 16, 16]`, in [0, 1]."""
    return descriptor[..., : THUMBNAIL**2].reshape(*descriptor.shape[:-1], THUMBNAIL, THUMBNAIL)


def _spectrum(grey: Tensor) -> Tensor:
    """Return the logarithm of the mean power `[BANDS]`, from one period per image to the finest grain."""
    power = torch.fft.rfft2(grey - grey.mean()).abs().square().flatten()
    band, counts = _bands(*grey.shape)
    return (torch.bincount(band, weights=power, minlength=BANDS) / counts + _LOWEST_POWER).log()


@lru_cache(maxsize=4)
def _bands(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Return the band of each frequency of `rfft2`, flat, and the frequencies per band (1 for none)."""
    frequency = torch.hypot(torch.fft.fftfreq(rows)[:, None], torch.fft.rfftfreq(columns)[None]).flatten()
    edges = torch.logspace(np.log10(1 / max(rows, columns)), np.log10(0.7), BANDS + 1)
    band = torch.bucketize(frequency, edges[1:-1])
    return band, torch.bincount(band, minlength=BANDS).clamp_min(1)
