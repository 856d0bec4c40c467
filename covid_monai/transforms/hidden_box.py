"""Images with the box of the lungs hidden, or with only their border visible, to test for shortcuts.

A network that still tells the classes apart on such images uses something other than the lungs: markers,
collimation, positioning, exposure, the scanner of a hospital.

Reference: Maguolo and Nanni, A critic evaluation of methods for COVID-19 automatic detection from X-ray
images, Information Fusion 2021;76:1-7 (the middle of every image painted over); DeGrave, Janizek and Lee, AI
for radiographic COVID-19 detection selects shortcuts over signal, Nat Mach Intell 2021;3:610-619.
"""

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from numpy.typing import NDArray

from covid_monai.transforms.base import as_type_of, require_float

Box = tuple[float, float, float, float]  # top, bottom, left, right: shares of height and width, in [0, 1]
INSIDE: Box = (1 / 16, 15 / 16, 1 / 16, 15 / 16)  # everything but the border


def box_mask(box: Box, height: int, width: int) -> NDArray[np.bool_]:
    """Mark the pixels whose centre is in a box, `[height, width]`.

    >>> int(box_mask(INSIDE, 32, 32).sum())
    784
    """
    top, bottom, left, right = box
    y, x = ((np.arange(size) + 0.5) / size for size in (height, width))
    return np.outer((top < y) & (y < bottom), (left < x) & (x < right))


def hide_box(image: NdarrayOrTensor, box: Box) -> NdarrayOrTensor:
    """Return a copy of a floating-point image `[C, H, W]` whose box has the mean of the visible part.

    Hide a box right after loading: a step that rescales by percentiles must not use the hidden part. Black is
    the fill where nothing is visible.
    """
    filled = require_float(image, "hide_box").clone()
    hidden = torch.from_numpy(box_mask(box, *filled.shape[-2:])).to(filled.device)
    # The mean of the visible part, not of the whole image: the mean of the lungs would reveal opacities.
    fill = filled[:, ~hidden].double().mean(dim=1, keepdim=True).nan_to_num(0)
    filled[:, hidden] = fill.to(filled)
    return as_type_of(filled, image)
