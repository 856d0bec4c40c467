"""The lungs of a radiograph as a soft mask, by a segmentation bundle."""

from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose, LoadImaged
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from covid_monai.bundle import Bundle
from covid_monai.bundle.shipped import LUNG_BUNDLE, find_bundle


class LungSegmenter:
    """Network and preprocessing of a segmentation bundle, loaded once for any number of images.

    Args:
        bundle_dir: Folder of the bundle; None is the shipped `covid_cxr_lung_segmentation`.
        device: Device of the network.

    Raises:
        FileNotFoundError: There is no bundle, or it has no weights.
        ValueError: The bundle is not one of lung masks, or its parts do not belong together.
    """

    def __init__(self, bundle_dir: str | Path | None = None, *, device: torch.device | str = "cpu") -> None:
        self.bundle = bundle = Bundle(find_bundle(bundle_dir, shipped=LUNG_BUNDLE))
        if not bundle.is_segmentation or "lungs" not in bundle.class_names:
            raise ValueError(f"{bundle.root} gives no mask of the lungs. Name a bundle of lung masks.")
        load, *steps = bundle.preprocessing.transforms
        if not isinstance(load, LoadImaged):
            raise ValueError(
                f"{bundle.root}: the preprocessing must begin with LoadImaged, as a file may be read."
            )
        self._prepare = Compose(steps)
        self._channel = bundle.class_names.index("lungs")
        self._network = bundle.load_network(device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, image: ArrayLike | Tensor) -> NDArray[np.float32]:
        """Return the probability of lung for each pixel of an image `[H, W]`, in [0, 1].

        The image is grey with bright bone, upright, and of any range: only differences of its values count.
        `read_radiograph` gives such an image, and so does the input of a classification network.

        Raises:
            ValueError: The image is not two-dimensional, or holds values that are not finite.
        """
        grey = torch.as_tensor(image, dtype=torch.float32).to("cpu")
        if grey.ndim != 2 or not torch.isfinite(grey).all():
            raise ValueError(f"Lungs are searched in a finite grey image [H, W], not in {tuple(grey.shape)}.")
        size = self.bundle.image_size
        if max(grey.shape) < size:  # area averaging would enlarge it in steps
            grey = interpolate(grey[None, None], size=(size, size), mode="bilinear")[0, 0]
        prepared = self._prepare({"image": grey[None]})["image"]
        logits = self._network(torch.as_tensor(prepared)[None].to(self._device))
        lungs = logits.float().softmax(dim=1)[:, self._channel, None].cpu()
        shape = torch.as_tensor(image).shape
        return interpolate(lungs, size=tuple(shape), mode="bilinear")[0, 0].numpy()
