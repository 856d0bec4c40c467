"""Augmentation of a whole batch at once, on the device where the network runs."""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


class BatchAugment:
    """Random rotation, zoom, shift, contrast, brightness and noise, drawn for each image of a batch.

    MONAI's spatial transforms work image by image, which on two cores costs more than a tenth of a
    training step; one `grid_sample` over the batch costs a hundredth, and on a GPU nothing that shows.
    Chest films are not mirrored: the heart lies on the left. Randomness comes from torch's global
    generator, so a seeded run repeats exactly.

    Args:
        rotate_degrees: Largest angle, either way.
        zoom: Largest relative change of size, either way.
        shift: Largest shift as a share of the image's side.
        contrast: Largest relative change of contrast around zero.
        brightness: Largest shift of brightness, in the input's units.
        noise: Largest standard deviation of Gaussian noise, in the input's units.
    """

    def __init__(
        self,
        *,
        rotate_degrees: float = 10.0,
        zoom: float = 0.1,
        shift: float = 0.05,
        contrast: float = 0.2,
        brightness: float = 0.2,
        noise: float = 0.05,
    ) -> None:
        self.rotate_degrees = rotate_degrees
        self.zoom = zoom
        self.shift = shift
        self.contrast = contrast
        self.brightness = brightness
        self.noise = noise

    def __call__(self, image: Tensor) -> Tensor:
        """Augment `[N, C, H, W]`; shape, dtype and device stay."""
        theta = self._draw_affine(image)
        grid = affine_grid(theta, list(image.shape), align_corners=False)
        image = grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return self._change_grey(image)

    def _draw_affine(self, image: Tensor) -> Tensor:
        count = len(image)
        angle = _uniform(image, count, math.radians(self.rotate_degrees))
        scale = 1 + _uniform(image, count, self.zoom)
        shift = _uniform(image, 2 * count, 2 * self.shift).view(count, 2, 1)  # the grid spans -1..1
        cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
        rotation = torch.stack([cosine, -sine, sine, cosine], dim=1).view(count, 2, 2)
        return torch.cat([rotation, shift], dim=2)

    def _change_grey(self, image: Tensor) -> Tensor:
        count = len(image)
        contrast = 1 + _uniform(image, count, self.contrast)
        brightness = _uniform(image, count, self.brightness)
        deviation = _uniform(image, count, self.noise).abs()
        noise = torch.randn_like(image) * deviation.view(-1, 1, 1, 1)
        return image * contrast.view(-1, 1, 1, 1) + brightness.view(-1, 1, 1, 1) + noise


def _uniform(like: Tensor, count: int, bound: float) -> Tensor:
    return (torch.rand(count, device=like.device, dtype=like.dtype) * 2 - 1) * bound
