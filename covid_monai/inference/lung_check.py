"""The lungs of each image that is classified, by the shipped lung bundle."""

import logging

import torch
from numpy.typing import ArrayLike

from covid_monai.bundle import Bundle
from covid_monai.bundle.shipped import LUNG_BUNDLE, find_bundle
from covid_monai.inference.backends import load_backend
from covid_monai.lungs import LungQuality, LungSegmenter, lung_quality

logger = logging.getLogger(__name__)


class LungCheck:
    """Figures of the lungs, for any number of images in any number of threads.

    The lung bundle is that beside the package or in the current folder. Without it no image has figures, and
    one warning says so.

    Args:
        backend: Backend of the network, see `covid_monai.inference.backends`.
        device: Device of the network.

    Raises:
        CheckpointError: The lung bundle is damaged.
    """

    def __init__(self, backend: str, device: torch.device) -> None:
        self.bundle: Bundle | None = None
        try:
            self.bundle = Bundle(find_bundle(shipped=LUNG_BUNDLE))
        except FileNotFoundError:
            logger.warning(
                "No image is checked for lungs: %s with its weights is neither beside the package nor in the "
                "current folder. Copy it there from the repository.",
                LUNG_BUNDLE,
            )
            return
        logits = load_backend(backend, self.bundle, device=device, parallel=1)
        self._segmenter = LungSegmenter(self.bundle.root, logits=logits)

    def __call__(self, image: ArrayLike) -> LungQuality | None:
        """Return the figures of an upright grey image `[H, W]` with bright bone; None without a bundle."""
        return None if self.bundle is None else lung_quality(self._segmenter.small_mask(image))
