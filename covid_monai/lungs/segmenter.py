"""The lungs of a radiograph as a soft mask, by a segmentation bundle."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from covid_monai.bundle import Bundle
from covid_monai.bundle.shipped import LUNG_BUNDLE, find_bundle
from covid_monai.lungs.quality import lung_box
from covid_monai.transforms.hidden_box import Box


class LungSegmenter:
    """Network and preprocessing of a segmentation bundle, loaded once for any number of images.

    Args:
        bundle_dir: Folder of the bundle; None is the shipped `covid_cxr_lung_segmentation`.
        device: Device of the network.
        logits: Function of inputs `[N, 1, S, S]` to logits `[N, 2, S, S]`, which is called by one thread at a
            time; None runs the bundle's network in PyTorch.

    Raises:
        FileNotFoundError: There is no bundle, or it has no weights.
        ValueError: The bundle is not one of lung masks, or its parts do not belong together.
    """

    def __init__(
        self,
        bundle_dir: str | Path | None = None,
        *,
        device: torch.device | str = "cpu",
        logits: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None,
    ) -> None:
        self.bundle = bundle = Bundle(find_bundle(bundle_dir, shipped=LUNG_BUNDLE))
        if not bundle.is_segmentation or "lungs" not in bundle.class_names:
            raise ValueError(f"{bundle.root} gives no mask of the lungs. Name a bundle of lung masks.")
        _, self._prepare = bundle.split_preprocessing()
        self._channel = bundle.class_names.index("lungs")
        self._logits = logits or _torch_logits(bundle, device)
        self._lock = Lock()

    def __call__(self, image: ArrayLike | Tensor) -> NDArray[np.float32]:
        """Return the probability of lung for each pixel of an image `[H, W]`, in [0, 1].

        The image is grey with bright bone, upright, and of any range: only differences of its values count.
        `read_radiograph` gives such an image, and so does the input of a classification network.

        Raises:
            ValueError: The image is not two-dimensional, or holds values that are not finite.
        """
        shape = torch.as_tensor(image).shape
        return _resized(torch.from_numpy(self.small_mask(image)), tuple(shape)).numpy()

    def small_mask(self, image: ArrayLike | Tensor) -> NDArray[np.float32]:
        """Return the same as a call, but `[S, S]` as the network gives it, which is enough for figures."""
        grey = torch.as_tensor(image, dtype=torch.float32).to("cpu")
        if grey.ndim != 2 or not torch.isfinite(grey).all():
            raise ValueError(f"Lungs are searched in a finite grey image [H, W], not in {tuple(grey.shape)}.")
        size = self.bundle.image_size
        if max(grey.shape) < size:  # area averaging would enlarge it in steps
            grey = _resized(grey, (size, size))
        prepared = torch.as_tensor(self._prepare({"image": grey[None]})["image"])
        with self._lock:
            logits = self._logits(prepared.as_subclass(Tensor)[None].numpy())
        lungs: NDArray[np.float32] = torch.from_numpy(logits).softmax(dim=1)[0, self._channel].numpy()
        return lungs

    def find_box(self, image: ArrayLike | Tensor) -> Box:
        """Return the box around the lungs of an image as a call takes it; see `lung_box`."""
        return lung_box(self.small_mask(image))


def _resized(image: Tensor, shape: tuple[int, ...]) -> Tensor:
    return interpolate(image[None, None], size=shape, mode="bilinear")[0, 0]


def _torch_logits(
    bundle: Bundle, device: torch.device | str
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    network = bundle.load_network(device)

    @torch.inference_mode()
    def logits(images: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = network(torch.from_numpy(images).to(device)).float().cpu().numpy()
        return result

    return logits
