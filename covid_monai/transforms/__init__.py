"""MONAI transforms for chest images, each as an array class and as a dictionary class (its name with a `d`).

Radiographs are `[C, H, W]` with intensities in [0, 1], CT volumes `[C, X, Y, Z]` in HU. A transform keeps
the type (numpy array, torch tensor, MetaTensor) and the metadata of an image.
"""

from covid_monai.transforms.crop_border import CropBorder, CropBorderd
from covid_monai.transforms.lung_window import CT_WINDOWS, LungWindow, LungWindowd, apply_lung_window
from covid_monai.transforms.percentile_rescale import PercentileRescale, PercentileRescaled

__all__ = [
    "CT_WINDOWS",
    "CropBorder",
    "CropBorderd",
    "LungWindow",
    "LungWindowd",
    "PercentileRescale",
    "PercentileRescaled",
    "apply_lung_window",
]
