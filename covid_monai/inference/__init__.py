"""Paths in, one prediction record per image out.

Importing this package loads neither torch nor MONAI: `covid_monai.inference.classifier` does.
"""

from covid_monai.inference.prediction import Prediction
from covid_monai.readers.image_files import FoundFiles, find_files, readable_images

__all__ = ["FoundFiles", "Prediction", "find_files", "readable_images"]
