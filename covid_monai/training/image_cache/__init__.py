"""Images decoded once: their preprocessed pixels on disk, shared by runs and processes."""

from covid_monai.training.image_cache.opened import CachedImages
from covid_monai.training.image_cache.rows import ImageCache

__all__ = ["CachedImages", "ImageCache"]
