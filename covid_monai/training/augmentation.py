"""Augmentation of a whole batch at once, on the device where the network runs."""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate


class BatchAugment:
    """Random rotation, stretch, shift, blur, contrast, brightness and noise for each image of a batch.

    MONAI's spatial transforms work image by image, which on two cores costs more than a tenth of a
    training step; one `grid_sample` over the batch costs a hundredth, and on a GPU nothing that shows.
    Stretching each side on its own and blur take away what tells an image's source rather than its lungs:
    the aspect ratio and the resolution that it had before it was resized. Randomness comes from torch's
    global generator, so a seeded run repeats exactly.

    Args:
        rotate_degrees: Largest angle, either way.
        scale: Largest relative change of each side, either way and for each side on its own.
        shift: Largest shift as a share of the image's side.
        flip_probability: Of mirroring left and right; 0 keeps the heart on the left.
        blur_probability: Of seeing the image at 40 to 90 % of its resolution.
        contrast: Largest relative change of contrast around zero.
        brightness: Largest shift of brightness, in the input's units.
        noise: Largest standard deviation of Gaussian noise, in the input's units.
    """

    def __init__(
        self,
        *,
        rotate_degrees: float = 15.0,
        scale: float = 0.2,
        shift: float = 0.08,
        flip_probability: float = 0.0,
        blur_probability: float = 0.25,
        contrast: float = 0.5,
        brightness: float = 0.3,
        noise: float = 0.15,
    ) -> None:
        self.rotate_degrees = rotate_degrees
        self.scale = scale
        self.shift = shift
        self.flip_probability = flip_probability
        self.blur_probability = blur_probability
        self.contrast = contrast
        self.brightness = brightness
        self.noise = noise

    def __call__(self, image: Tensor) -> Tensor:
        """Augment `[N, C, H, W]`; shape, dtype and device stay."""
        grid = affine_grid(self._draw_affine(image), list(image.shape), align_corners=False)
        image = grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return self._change_grey(self._blur(image))

    def _draw_affine(self, image: Tensor) -> Tensor:
        count = len(image)
        angle = _uniform(image, count, math.radians(self.rotate_degrees))
        across = 1 + _uniform(image, count, self.scale)
        down = 1 + _uniform(image, count, self.scale)
        mirror = torch.where(_chosen(image, self.flip_probability), -1.0, 1.0).to(image.dtype)
        shift = _uniform(image, 2 * count, 2 * self.shift).view(count, 2, 1)  # the grid spans -1..1
        cosine, sine = torch.cos(angle), torch.sin(angle)
        rows = [cosine * across * mirror, -sine * down, sine * across * mirror, cosine * down]
        return torch.cat([torch.stack(rows, dim=1).view(count, 2, 2), shift], dim=2)

    def _blur(self, image: Tensor) -> Tensor:
        if self.blur_probability <= 0:
            return image
        blurred = _chosen(image, self.blur_probability).view(-1, 1, 1, 1)
        size = image.shape[-2:]
        # One resolution for the batch: images of several sizes cannot be resized together.
        factor = 0.4 + 0.5 * float(torch.rand(()))
        small = interpolate(image, size=[max(1, int(side * factor)) for side in size], mode="area")
        return torch.where(blurred, interpolate(small, size=size, mode="bilinear"), image)

    def _change_grey(self, image: Tensor) -> Tensor:
        count = len(image)
        contrast = 1 + _uniform(image, count, self.contrast)
        brightness = _uniform(image, count, self.brightness)
        deviation = _uniform(image, count, self.noise).abs()
        noise = torch.randn_like(image) * deviation.view(-1, 1, 1, 1)
        return image * contrast.view(-1, 1, 1, 1) + brightness.view(-1, 1, 1, 1) + noise


def _chosen(like: Tensor, probability: float) -> Tensor:
    return torch.rand(len(like), device=like.device) < probability


def _uniform(like: Tensor, count: int, bound: float) -> Tensor:
    return (torch.rand(count, device=like.device, dtype=like.dtype) * 2 - 1) * bound
