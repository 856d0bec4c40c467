"""Grad-CAM: which parts of an image moved the network towards a class, by MONAI's own `GradCAM`."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.visualize import GradCAM
from numpy.typing import NDArray
from torch import Tensor, nn

# The last layer that still knows where on the image something is, by an attribute of the network's family.
# EfficientNet uses the module of its last activation in the stem too, hence the layer before it.
_TARGET_LAYERS = {"class_layers": "class_layers.relu", "layer4": "layer4", "_conv_head": "_bn1"}


class HeatmapGenerator:
    """Grad-CAM of one classifier, for as many images as wanted.

    Works on a copy of the network: its hooks and frozen weights leave the original as it was.

    Args:
        network: From `covid_monai.networks.build_network`.

    Raises:
        ValueError: If the network is of another family.

    Reference: Selvaraju 2017, Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization, arXiv:1610.02391.
    """

    def __init__(self, network: nn.Module) -> None:
        self.layer = target_layer(network)
        # Only the gradient at the layer is needed, not that of any weight.
        frozen = copy.deepcopy(network).eval().requires_grad_(False)
        self._cam = GradCAM(frozen, self.layer, postprocessing=_to_unit_range)

    def __call__(self, images: Tensor, class_index: int) -> NDArray[np.float32]:
        """Heat maps of one class.

        Args:
            images: Shape [N, C, H, W], preprocessed, on the network's device.
            class_index: The class whose evidence is shown. One for all images: MONAI sums the scores of a
                batch over every class index it is given, which would mix the classes.

        Returns:
            Shape [N, H, W] in [0, 1]; each map's highest value is 1, and 0 is no evidence. An image without
            any evidence for the class gives a map of zeros.
        """
        with torch.enable_grad():
            maps = self._cam(images.detach().clone().requires_grad_(), class_idx=class_index)
        return maps[:, 0].detach().float().cpu().numpy()

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of the maps before they are stretched to the size of `images`."""
        with torch.enable_grad():
            maps = self._cam.compute_map(images.detach().clone().requires_grad_(), class_idx=0)
        return int(maps.shape[-2]), int(maps.shape[-1])


@dataclass(frozen=True)
class ImageWithHeatmap:
    """A heat map and the image that it lies on.

    Args:
        image: Shape [H, W] in [0, 1], as a viewer shows the file.
        heat: Shape [S, T] in [0, 1], on the grid of the network's input.
        to_image: Shape [3, 3]: (row, column, 1) of a pixel of `heat` to (row, column, 1) of the image, both
            counted from the centre of the first pixel.
    """

    image: NDArray[np.float32]
    heat: NDArray[np.float32]
    to_image: NDArray[np.float64]


def affine_to_image(image_affine: NDArray[np.float64], image: MetaTensor) -> NDArray[np.float64]:
    """Where on an image the pixels of its preprocessed image lie, by the affines that MONAI keeps.

    Whatever spatial transforms the bundle's preprocessing holds (resize, crop, pad, flip) are in them.

    Args:
        image_affine: Shape [4, 4], of the whole image, as read.
        image: Shape [C, S, T], after the preprocessing.

    Returns:
        Shape [3, 3], as `ImageWithHeatmap.to_image`.
    """
    moved = np.linalg.inv(image_affine) @ np.asarray(image.affine)
    in_plane = [0, 1, 3]
    return moved[np.ix_(in_plane, in_plane)]


def with_random_weights(network: nn.Module, *, seed: int) -> nn.Module:
    """A copy of the network with every layer initialised anew, normalisation statistics included."""
    fresh = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    return fresh


def target_layer(network: nn.Module) -> str:
    """Name of the last layer with a spatial extent.

    Raises:
        ValueError: If the network is neither DenseNet nor ResNet nor EfficientNet.
    """
    for attribute, layer in _TARGET_LAYERS.items():
        if hasattr(network, attribute):
            return layer
    raise ValueError(
        f"Grad-CAM needs a network of covid_monai.networks; got {type(network).__name__}. Add its "
        "last spatial layer to covid_monai/inference/grad_cam.py."
    )


def _to_unit_range(maps: Any) -> Any:
    """Divide each map by its maximum; MONAI's own scaling turns hot into 0 and an empty map into all hot."""
    highest = maps.amax(dim=(-2, -1), keepdim=True)
    return torch.where(highest > 0, maps / highest.clamp_min(torch.finfo(maps.dtype).tiny), 0.0)
