"""MONAI transforms for chest images: an array class and a dictionary class (its name with a `d`) each.

Radiographs are `[C, H, W]` with intensities in [0, 1], CT volumes `[C, X, Y, Z]` in HU. The type (numpy
array, torch tensor, MetaTensor) and the metadata of an image are kept.
"""

from covid_monai.transforms.crop_border import CropBorder, CropBorderd
from covid_monai.transforms.equalize import CLAHE, CLAHEd
from covid_monai.transforms.hide_region import HideRegion, HideRegiond
from covid_monai.transforms.lung_window import CT_WINDOWS, LungWindow, LungWindowd, apply_lung_window
from covid_monai.transforms.percentile_rescale import PercentileRescale, PercentileRescaled

__all__ = [
    "CLAHE",
    "CT_WINDOWS",
    "CLAHEd",
    "CropBorder",
    "CropBorderd",
    "HideRegion",
    "HideRegiond",
    "LungWindow",
    "LungWindowd",
    "PercentileRescale",
    "PercentileRescaled",
    "apply_lung_window",
]
