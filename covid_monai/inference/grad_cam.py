"""Grad-CAM heat maps: which parts of an image are evidence for a class, computed by MONAI's `GradCAM`."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.visualize import GradCAM
from numpy.typing import NDArray
from torch import Tensor, nn

# The last layer with a spatial extent, by an attribute of the network's family. EfficientNet uses the module
# of its last activation also in the stem, so the layer before it is taken.
_TARGET_LAYERS = {"class_layers": "class_layers.relu", "layer4": "layer4", "_conv_head": "_bn1"}


class HeatmapGenerator:
    """Grad-CAM of one network, for any number of images.

    It uses a copy of the network, so that hooks and frozen weights do not change the original. A network that
    is not from `covid_monai.networks` is a `ValueError`.

    Reference: Selvaraju 2017, Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization, arXiv:1610.02391.
    """

    def __init__(self, network: nn.Module) -> None:
        self.layer = target_layer(network)
        # Only the gradient at the layer is needed, not the gradients of the weights.
        frozen = copy.deepcopy(network).eval().requires_grad_(False)
        self._cam = GradCAM(frozen, self.layer, postprocessing=_to_unit_range)

    def __call__(self, images: Tensor, class_index: int) -> NDArray[np.float32]:
        """Compute the heat maps of one class.

        Args:
            images: Shape [N, C, H, W], preprocessed, on the network's device.
            class_index: Class whose evidence is computed, the same for all images: MONAI sums the scores of
                a batch over several class indices, which would mix the classes.

        Returns:
            Shape [N, H, W] in [0, 1]. The highest value of each map is 1, and 0 means no evidence. An image
            without any evidence for the class has a map of zeros.
        """
        with torch.enable_grad():
            maps = self._cam(images.detach().clone().requires_grad_(), class_idx=class_index)
        heat: NDArray[np.float32] = maps[:, 0].detach().float().cpu().numpy()
        return heat

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Return rows and columns of the maps before they are resized to the size of `images`."""
        with torch.enable_grad():
            maps = self._cam.compute_map(images.detach().clone().requires_grad_(), class_idx=0)
        return int(maps.shape[-2]), int(maps.shape[-1])


@dataclass(frozen=True)
class ImageWithHeatmap:
    """An image and its heat map, which has another grid."""

    image: NDArray[np.float32]  # [H, W] in [0, 1], as a viewer displays the file
    heat: NDArray[np.float32]  # [S, T] in [0, 1], on the grid of the network's input
    # [3, 3]: (row, column, 1) of a pixel of `heat` to (row, column, 1) of the image, both counted from the
    # centre of the first pixel.
    to_image: NDArray[np.float64]


def affine_to_image(image_affine: NDArray[np.float64], image: MetaTensor) -> NDArray[np.float64]:
    """Return `ImageWithHeatmap.to_image`: from pixels of a preprocessed image to pixels of the whole image.

    It follows from the affines [4, 4] that MONAI keeps, which contain all spatial transforms of the
    preprocessing (resize, crop, pad, flip). `image_affine` is that of the whole image as read.
    """
    moved: NDArray[np.float64] = np.linalg.inv(image_affine) @ np.asarray(image.affine)
    return moved[np.ix_([0, 1, 3], [0, 1, 3])]


def with_random_weights(network: nn.Module, *, seed: int) -> nn.Module:
    """Return a copy of the network in which every layer, with its normalisation, has new random weights."""
    fresh = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
    return fresh


def target_layer(network: nn.Module) -> str:
    """Return the name of the last layer with a spatial extent."""
    for attribute, layer in _TARGET_LAYERS.items():
        if hasattr(network, attribute):
            return layer
    raise ValueError(
        f"Grad-CAM needs a network of covid_monai.networks, not {type(network).__name__}. Add its last "
        "spatial layer to covid_monai/inference/grad_cam.py."
    )


def _to_unit_range(maps: Any) -> Any:
    """Divide each map by its maximum. MONAI's own scaling inverts the map, and fills an empty one with 1."""
    highest = maps.amax(dim=(-2, -1), keepdim=True)
    return torch.where(highest > 0, maps / highest.clamp_min(torch.finfo(maps.dtype).tiny), 0.0)
