"""Random image markers: bright letters near a corner, for a whole batch at once; see `augmentation.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from covid_monai.training.augmentation import check_probabilities

_LEAST_HEIGHT = 6.0  # height of the letters in pixels, below which they cannot be read


@dataclass
class RandomMarkers:
    """Draw one bright marker (side, projection, "PORTABLE") near a corner of some images.

    Burned-in letters tell one hospital, or a bedside image of a sick patient, from another. A network then
    reads the class off them. Letters at random carry no label. Letters that do not fit are cut off.

    Args:
        probability: Probability that an image is changed, in [0, 1].
        texts: Words that a marker may show.
        size: Smallest and largest letter size as a fraction of the image's height, in (0, 0.25].
    """

    probability: float
    texts: Sequence[str]
    size: tuple[float, float]

    def __post_init__(self) -> None:
        check_probabilities(self.probability)
        if isinstance(self.texts, str) or not self.texts or not all(self.texts):
            raise ValueError(f"texts is {self.texts!r}. Give a list of words that are not empty.")
        if not 0 < self.size[0] <= self.size[1] <= 0.25:
            raise ValueError(f"size is {self.size}. Choose two increasing numbers in (0, 0.25].")

    def __call__(self, image: Tensor) -> Tensor:
        """Change images in [0, 1]."""
        if self.probability == 0:
            return image
        count, device = len(image), image.device
        height = round(max(self.size[1] * image.shape[-2], _LEAST_HEIGHT))
        letters, extents = _letters(tuple(self.texts), height, device)
        text = torch.randint(len(self.texts), (count,), device=device)
        low, high = (max(share * image.shape[-2], _LEAST_HEIGHT) for share in self.size)
        scale = (low + torch.rand(count, device=device) * (high - low)) / high
        # The outer quarter at either end of both axes: near a corner, off the lung fields as a rule.
        corner = torch.randint(2, (count, 2), device=device)
        share = torch.rand(count, 2, device=device) / 4 + 0.75 * corner
        sides = torch.tensor(image.shape[-2:], device=device)
        start = (share * (sides - extents[text] * scale[:, None])).round().clamp_min(0)
        mask = _placed(letters[text], start, scale, (image.shape[-2], image.shape[-1])).to(image.dtype)
        drawn = torch.rand(count, device=device) < self.probability
        level = 0.85 + 0.15 * torch.rand(count, device=device)
        return image.lerp(level.to(image.dtype).view(-1, 1, 1, 1), mask * drawn.view(-1, 1, 1, 1))


@lru_cache(maxsize=4)
def _letters(texts: tuple[str, ...], height: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return all texts at one size `[T, 1, H, W]`, top left, and their extents `[T, 2]`."""
    masks = [_marker_mask(text, height) for text in texts]
    extents = torch.tensor([mask.shape for mask in masks])
    rows, columns = extents.amax(0).tolist()
    padded = [pad(mask, (0, columns - mask.shape[1], 0, rows - mask.shape[0])) for mask in masks]
    return torch.stack(padded)[:, None].to(device), extents.to(device)


def _placed(masks: Tensor, start: Tensor, scale: Tensor, sides: tuple[int, int]) -> Tensor:
    """Scale masks `[N, 1, h, w]` and place their top left at `start` `[N, 2]` in `[N, 1, *sides]`."""
    count, _, rows, columns = masks.shape
    factor, zero = 1 / scale, torch.zeros_like(scale)
    across = torch.stack([factor, zero, factor - 1], 1)
    down = torch.stack([zero, factor, factor - 1], 1)
    grid = affine_grid(torch.stack([across, down], 1), list(masks.shape), align_corners=False)
    letters = grid_sample(masks, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    # Scaling down blurs thin strokes. The brightest pixel of a marker gets its full level again.
    letters = letters / letters.amax((1, 2, 3), keepdim=True).clamp_min(1e-3)
    # Larger than the image by what is cut off. Only the letters' own window is sampled and written.
    canvas = masks.new_zeros(count, 1, sides[0] + rows, sides[1] + columns)
    top, left = start.long().unbind(1)
    down_index = (top[:, None] + torch.arange(rows, device=masks.device))[:, :, None]
    across_index = (left[:, None] + torch.arange(columns, device=masks.device))[:, None, :]
    image_index = torch.arange(count, device=masks.device)[:, None, None]
    canvas[image_index, 0, down_index, across_index] = letters[:, 0]
    return canvas[..., : sides[0], : sides[1]]


def _marker_mask(text: str, height: int) -> Tensor:
    """Draw a line of text in Pillow's own font of `height` pixels: 0 around the letters, 1 inside them."""
    font = ImageFont.load_default(height)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    canvas = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(canvas).text((-left, -top), text, font=font, fill=255)
    return torch.from_numpy(np.asarray(canvas, dtype=np.float32) / np.float32(255))
