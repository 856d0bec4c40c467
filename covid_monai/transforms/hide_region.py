"""Images with hidden lungs, or with only their border visible, to test a network for shortcuts.

A network that still tells the classes apart on such images uses something other than the lungs: markers,
collimation, positioning, exposure, the scanner of a hospital.

Reference: Maguolo and Nanni, A critic evaluation of methods for COVID-19 automatic detection from X-ray
images, Information Fusion 2021;76:1-7 (the middle of every image painted over); DeGrave, Janizek and Lee, AI
for radiographic COVID-19 detection selects shortcuts over signal, Nat Mach Intell 2021;3:610-619.

To train with hidden lungs, add one line to a copy of the bundle. Training, evaluation and prediction then
all use the same images, and the checkpoint's digest records it:

    cp -r bundles/covid_cxr_classification hidden
    # in hidden/configs/inference.yaml, under `preprocessing`, right after LoadImaged:
    #   - {_target_: covid_monai.transforms.hide_region.HideRegiond, keys: image, region: lungs}
    python -m monai.bundle run training --config_file hidden/configs/train.yaml --bundle_root hidden \
      --datalist my.json --output_dir runs/hidden

`region: inside` leaves only the border.
"""

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import TransformBackends
from numpy.typing import NDArray

from covid_monai.core.errors import check_choice
from covid_monai.transforms.base import EachKey, as_type_of, require_float

REGIONS = ("lungs", "inside")
_LUNGS_HALF_AXES = (0.96, 0.88)  # as fractions of half the width and height; see `region_mask`
_LUNGS_EXPONENT = 4
_BORDER = 1 / 16


def region_mask(region: str, height: int, width: int) -> NDArray[np.bool_]:
    """Mark the pixels to hide, `[height, width]`, True where hidden.

    The region is the same for every image. A region that followed each image's own lungs would show their
    outline, and with it the disease. `lungs` is a rounded box that leaves the corners, the neck and the
    lowest part of the image; `inside` is everything but a border as wide as 1/16 of each side.

    >>> int(region_mask("inside", 32, 32).sum())
    784
    """
    check_choice("region", region, REGIONS)
    x = np.abs(2 * (np.arange(width) + 0.5) / width - 1)
    y = np.abs(2 * (np.arange(height) + 0.5) / height - 1)[:, np.newaxis]
    if region == "inside":
        return np.maximum(x, y) < 1 - 2 * _BORDER
    across, down = _LUNGS_HALF_AXES
    return (x / across) ** _LUNGS_EXPONENT + (y / down) ** _LUNGS_EXPONENT < 1


class HideRegion(Transform):
    """Fill a fixed region of a radiograph with the mean of the visible part.

    Put it right after loading: a step that rescales by percentiles must not use the hidden part.

    Args:
        region: See `region_mask`.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012  # MONAI's own attribute

    def __init__(self, *, region: str = "lungs") -> None:
        region_mask(region, 1, 1)
        self.region = region

    def __call__(self, image: NdarrayOrTensor) -> NdarrayOrTensor:
        """Return a copy of a floating-point image `[C, H, W]` with the region filled."""
        filled = require_float(image, "HideRegion").clone()
        hidden = torch.from_numpy(region_mask(self.region, *filled.shape[-2:])).to(filled.device)
        # The mean of the visible part, not of the whole image: the mean of the lungs would reveal opacities.
        filled[:, hidden] = filled[:, ~hidden].double().mean(dim=1, keepdim=True).to(filled)
        return as_type_of(filled, image)


class HideRegiond(EachKey):
    """Dictionary version of `HideRegion`, with the same arguments; see also `EachKey`."""

    array_class = HideRegion
