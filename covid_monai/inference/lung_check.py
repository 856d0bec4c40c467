"""The lungs of each image that is classified, by the shipped lung bundle."""

import logging
from threading import Lock

import torch
from numpy.typing import ArrayLike

from covid_monai.bundle import Bundle
from covid_monai.bundle.shipped import LUNG_BUNDLE, find_bundle
from covid_monai.inference.backends import load_backend
from covid_monai.lungs import LungQuality, LungSegmenter, lung_quality

logger = logging.getLogger(__name__)


class LungCheck:
    """Figures of the lungs, for any number of images in any number of threads.

    The lung bundle is that beside the package or in the current folder. Its network is loaded once, for the
    first image. Without the bundle no image has figures, and one warning says so.

    Args:
        backend: Backend of the network, see `covid_monai.inference.backends`.
        device: Device of the network.
    """

    def __init__(self, backend: str, device: torch.device) -> None:
        self._backend, self._device, self._lock = backend, device, Lock()
        try:
            self.bundle: Bundle | None = Bundle(find_bundle(shipped=LUNG_BUNDLE))
        except FileNotFoundError as error:
            logger.warning("No image is checked for lungs. %s", error)
            self.bundle = None
        self._segmenter: LungSegmenter | None = None

    def __call__(self, image: ArrayLike) -> LungQuality | None:
        """Return the figures of a grey image `[H, W]`, upright and with bright bone; None without a bundle.

        Raises:
            CheckpointError: The lung bundle is damaged.
        """
        if self.bundle is None:
            return None
        with self._lock:
            segmenter = self._load(self.bundle)
        return lung_quality(segmenter.small_mask(image))

    def _load(self, bundle: Bundle) -> LungSegmenter:
        if self._segmenter is None:
            logits = load_backend(self._backend, bundle, device=self._device, parallel=1)
            self._segmenter = LungSegmenter(bundle.root, logits=logits)
        return self._segmenter
