"""Random changes of a batch of images, on the device where the network runs.

Each class changes a whole batch `[N, C, H, W]` at once and keeps its shape, dtype and device. MONAI's random
transforms work image by image, which costs more than a tenth of a training step on two cores. Random numbers
come from torch's global generator, so a seeded run repeats exactly. Every image is computed and the drawn
ones are chosen afterwards, so that a GPU never waits for the CPU.

The numbers stand in `train.yaml`. Burned-in letters are in `markers.py`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate


@dataclass(frozen=True)
class RandomCollimation:
    """Cover the edges of some images with strips of one dark or bright level.

    Frames, collimator edges and scanner borders differ between hospitals. Where each class comes from other
    hospitals, a network reads the class off them. Strips of random sides and widths carry no label.

    Args:
        probability: Probability that an image is changed, in [0, 1].
        max_fraction: Widest strip as a fraction of the side that it covers a part of, in (0, 0.25].
        side_probability: Probability that a side gets a strip, in [0, 1]; at least one side gets one.
        bright_probability: Probability that the strips are bright (the surround of a scanned image) and not
            dark (a collimator), in [0, 1].
    """

    probability: float
    max_fraction: float
    side_probability: float
    bright_probability: float

    def __post_init__(self) -> None:
        check_probabilities(self.probability, self.side_probability, self.bright_probability)
        if not 0 < self.max_fraction <= 0.25:
            raise ValueError(f"max_fraction is {self.max_fraction}. Choose a number in (0, 0.25].")

    def __call__(self, image: Tensor) -> Tensor:
        """Change images in [0, 1]."""
        count, device = len(image), image.device
        has_strip = torch.rand(count, 4, device=device) < self.side_probability
        has_strip.scatter_(1, torch.randint(4, (count, 1), device=device), True)
        drawn = torch.rand(count, 1, device=device) < self.probability
        widths = torch.rand(count, 4, device=device) * self.max_fraction * (has_strip & drawn)
        top, bottom, left, right = widths[:, :, None].unbind(1)
        covered = _in_strips(image.shape[-2], top, bottom)[:, :, None]
        covered = covered | _in_strips(image.shape[-1], left, right)[:, None, :]
        depth = torch.rand(count, device=device) * 0.08
        bright = torch.rand(count, device=device) < self.bright_probability
        level = torch.where(bright, 1 - depth, depth).to(image.dtype)
        return torch.where(covered[:, None], _per_image(level), image)


@dataclass(frozen=True)
class RandomGamma:
    """Show every image through a display curve of its own, as hospitals and scanners do.

    Args:
        gamma: Smallest and largest exponent, on either side of 1; each side is drawn equally often.
    """

    gamma: tuple[float, float]

    def __post_init__(self) -> None:
        if not 0 < self.gamma[0] <= 1 <= self.gamma[1]:
            raise ValueError(f"gamma is {self.gamma}. Choose two numbers above 0 on either side of 1.")

    def __call__(self, image: Tensor) -> Tensor:
        """Change images in [0, 1]."""
        distance = torch.rand(len(image), device=image.device, dtype=image.dtype)
        darker = torch.rand(len(image), device=image.device) < 0.5
        low, high = self.gamma
        return image.pow(_per_image(torch.where(darker, 1 + distance * (high - 1), 1 - distance * (1 - low))))


@dataclass(frozen=True)
class RandomAffine:
    """Rotate, stretch and shift every image, and mirror some.

    Stretching each side on its own hides the aspect ratio that an image had before it was resized: it tells
    the source of an image rather than its lungs.

    Args:
        rotate_degrees: Largest angle in either direction, in degrees.
        stretch: Largest relative change of a side in either direction; each side has its own.
        shift: Largest shift in either direction, as a fraction of the image's side.
        flip_probability: Probability of mirroring left and right; 0 keeps the heart on the left.
    """

    rotate_degrees: float
    stretch: float
    shift: float
    flip_probability: float

    def __call__(self, image: Tensor) -> Tensor:
        """Change images of any range; the border continues outside the image."""
        count = len(image)
        angle = _uniform(image, count, math.radians(self.rotate_degrees))
        across = 1 + _uniform(image, count, self.stretch)
        down = 1 + _uniform(image, count, self.stretch)
        mirrored = torch.rand(count, device=image.device) < self.flip_probability
        mirror = torch.where(mirrored, -1.0, 1.0).to(image.dtype)
        shift = _uniform(image, 2 * count, 2 * self.shift).view(count, 2, 1)  # the grid spans -1..1
        cosine, sine = torch.cos(angle), torch.sin(angle)
        rows = [cosine * across * mirror, -sine * down, sine * across * mirror, cosine * down]
        matrices = torch.cat([torch.stack(rows, dim=1).view(count, 2, 2), shift], dim=2)
        grid = affine_grid(matrices, list(image.shape), align_corners=False)
        return grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class RandomBlur:
    """Show some images at a lower resolution, which tells the source of an image rather than its lungs.

    Args:
        probability: Probability that an image is blurred, in [0, 1].
        resolution: Smallest and largest share of the resolution that stays; the images of a batch share one
            value, because images of several sizes cannot be resized together.
    """

    probability: float
    resolution: tuple[float, float]

    def __call__(self, image: Tensor) -> Tensor:
        """Change images of any range."""
        if self.probability <= 0:
            return image
        blurred = torch.rand(len(image), device=image.device) < self.probability
        size = image.shape[-2:]
        low, high = self.resolution
        share = low + (high - low) * float(torch.rand(()))
        small = interpolate(image, size=[max(1, int(side * share)) for side in size], mode="area")
        return torch.where(_per_image(blurred), interpolate(small, size=size, mode="bilinear"), image)


@dataclass(frozen=True)
class RandomGreyLevels:
    """Change contrast and brightness of every image, and add Gaussian noise of a random strength.

    Args:
        contrast: Largest relative change of contrast around zero, in either direction.
        brightness: Largest shift of brightness in either direction, in the unit of the images.
        noise: Largest standard deviation of the noise, in the unit of the images.
    """

    contrast: float
    brightness: float
    noise: float

    def __call__(self, image: Tensor) -> Tensor:
        """Change images of any range."""
        count = len(image)
        image = image * _per_image(1 + _uniform(image, count, self.contrast))
        image = image + _per_image(_uniform(image, count, self.brightness))
        deviation = _uniform(image, count, self.noise).abs()
        return image + torch.randn_like(image) * _per_image(deviation)


def check_probabilities(*values: float) -> None:
    """Raise `ValueError` unless all values lie in [0, 1]."""
    if not all(0 <= value <= 1 for value in values):
        raise ValueError(f"A probability is outside [0, 1]: {', '.join(map(str, values))}.")


def _in_strips(side: int, before: Tensor, after: Tensor) -> Tensor:
    """Which pixels `[N, side]` lie in strips of the widths `before` and `after` `[N, 1]`, as fractions."""
    pixel = torch.arange(side, device=before.device)
    return (pixel < (before * side).round()) | (pixel >= side - (after * side).round())


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _uniform(like: Tensor, count: int, bound: float) -> Tensor:
    return (torch.rand(count, device=like.device, dtype=like.dtype) * 2 - 1) * bound
