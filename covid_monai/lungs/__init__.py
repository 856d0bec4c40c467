"""Lung masks of chest radiographs by the shipped segmentation bundle, and what they say about an image."""

from covid_monai.lungs.quality import LungQuality, lung_quality
from covid_monai.lungs.segmenter import LungSegmenter

__all__ = ["LungQuality", "LungSegmenter", "lung_quality"]
