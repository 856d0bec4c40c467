"""Random changes that fight shortcuts: borders, letters and display curves that carry no label.

Each works on a whole batch in [0, 1] at once, on its device, and draws from torch's global generator, so a
seeded run repeats exactly. Every image is computed and the drawn ones are chosen afterwards: on a GPU nothing
waits, on a CPU a batch costs less than image by image.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

MARKER_TEXTS = ("L", "R", "AP", "PA", "SUPINE", "ERECT", "PORTABLE")
_LEAST_HEIGHT = 6.0  # of a marker's letters, in pixels: below, they are no letters


class RandomCollimation:
    """Cover the edges of some images with strips of one dark or bright level.

    Frames, collimator edges and scanner borders tell one hospital from another; where each class comes from
    other hospitals, a network reads the class off them. Strips at random sides and widths carry no label.

    Args:
        probability: That an image is changed, in [0, 1].
        max_fraction: Widest strip as a fraction of the side it takes from, in (0, 0.25].
        side_probability: That a side gets a strip, in [0, 1]; at least one side does.
        bright_probability: That the strips are bright (a scanned film's surround) rather than dark (a
            collimator), in [0, 1].

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        probability: float,
        *,
        max_fraction: float = 0.12,
        side_probability: float = 0.6,
        bright_probability: float = 0.2,
    ) -> None:
        _check_probabilities(probability, side_probability, bright_probability)
        if not 0 < max_fraction <= 0.25:
            raise ValueError(f"max_fraction must lie in (0, 0.25], got {max_fraction}")
        self.probability = probability
        self.max_fraction = max_fraction
        self.side_probability = side_probability
        self.bright_probability = bright_probability

    def __call__(self, image: Tensor) -> Tensor:
        """Change some of `[N, C, H, W]`; shape, dtype and device stay."""
        count, device = len(image), image.device
        has_strip = torch.rand(count, 4, device=device) < self.side_probability
        has_strip.scatter_(1, torch.randint(4, (count, 1), device=device), True)
        drawn = torch.rand(count, 1, device=device) < self.probability
        widths = torch.rand(count, 4, device=device) * self.max_fraction * (has_strip & drawn)
        top, bottom, left, right = widths[:, :, None].unbind(1)
        covered = _outside(image.shape[-2], top, bottom, device)[:, :, None]
        covered = covered | _outside(image.shape[-1], left, right, device)[:, None, :]
        depth = torch.rand(count, device=device) * 0.08
        bright = torch.rand(count, device=device) < self.bright_probability
        level = torch.where(bright, 1 - depth, depth).to(image.dtype)
        return torch.where(covered[:, None], level.view(-1, 1, 1, 1), image)


def _outside(side: int, before: Tensor, after: Tensor, device: torch.device) -> Tensor:
    """Which pixels `[N, side]` lie in strips of the widths `before` and `after` `[N, 1]`, as fractions."""
    pixel = torch.arange(side, device=device)
    return (pixel < (before * side).round()) | (pixel >= side - (after * side).round())


class RandomMarkers:
    """Draw one bright marker (side, projection, "PORTABLE") near a corner of some images.

    Burned-in letters tell one hospital, or a bedside film of a sick patient, from another; a network reads
    the class off them. Letters at random carry no label. Letters that do not fit are cut off.

    Args:
        probability: That an image is changed, in [0, 1].
        texts: What may stand on a marker.
        size: Smallest and largest letter size as a fraction of the image's height, in (0, 0.25].

    Raises:
        ValueError: If an argument is empty or out of its range.
    """

    def __init__(
        self,
        probability: float,
        *,
        texts: Sequence[str] = MARKER_TEXTS,
        size: tuple[float, float] = (0.035, 0.075),
    ) -> None:
        _check_probabilities(probability)
        if isinstance(texts, str) or not texts or not all(texts):
            raise ValueError(f"texts must be a list of non-empty words, got {texts!r}")
        if not 0 < size[0] <= size[1] <= 0.25:
            raise ValueError(f"size must be two increasing numbers in (0, 0.25], got {size}")
        self.probability = probability
        self.texts = tuple(texts)
        self.size = size
        self._page: tuple[Tensor, Tensor] | None = None
        self._page_height = 0

    def __call__(self, image: Tensor) -> Tensor:
        """Change some of `[N, C, H, W]`; shape, dtype and device stay."""
        if self.probability == 0:
            return image
        count, device = len(image), image.device
        letters, extents = self._letters(image)
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

    def _letters(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """All texts at the largest size `[T, 1, H, W]`, top left, and their rows and columns `[T, 2]`."""
        height = round(max(self.size[1] * image.shape[-2], _LEAST_HEIGHT))
        if self._page is None or self._page_height != height or self._page[0].device != image.device:
            self._page_height = height
            masks = [marker_mask(text, height) for text in self.texts]
            extents = torch.tensor([mask.shape for mask in masks])
            rows, columns = extents.amax(0).tolist()
            padded = [pad(mask, (0, columns - mask.shape[1], 0, rows - mask.shape[0])) for mask in masks]
            self._page = torch.stack(padded)[:, None].to(image.device), extents.to(image.device)
        return self._page


def _placed(masks: Tensor, start: Tensor, scale: Tensor, sides: tuple[int, int]) -> Tensor:
    """Masks `[N, 1, h, w]`, each scaled and with its top left at `start` `[N, 2]`, on `[N, 1, *sides]`."""
    count, _, rows, columns = masks.shape
    factor, zero = 1 / scale, torch.zeros_like(scale)
    across = torch.stack([factor, zero, factor - 1], 1)
    down = torch.stack([zero, factor, factor - 1], 1)
    grid = affine_grid(torch.stack([across, down], 1), list(masks.shape), align_corners=False)
    letters = grid_sample(masks, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    # With room for what is cut off; only the letters' own window is sampled and written.
    page = masks.new_zeros(count, 1, sides[0] + rows, sides[1] + columns)
    top, left = start.long().unbind(1)
    down_index = (top[:, None] + torch.arange(rows, device=masks.device))[:, :, None]
    across_index = (left[:, None] + torch.arange(columns, device=masks.device))[:, None, :]
    image_index = torch.arange(count, device=masks.device)[:, None, None]
    page[image_index, 0, down_index, across_index] = letters[:, 0]
    return page[..., : sides[0], : sides[1]]


def marker_mask(text: str, height: int) -> Tensor:
    """Draw `text` with Pillow's built-in font.

    Args:
        text: One line.
        height: Font size in pixels, at least 1.

    Returns:
        `[rows, columns]`, tightly around the letters: 0 outside them, 1 inside, between on their edges.
    """
    font = ImageFont.load_default(height)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    canvas = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(canvas).text((-left, -top), text, font=font, fill=255)
    return torch.from_numpy(np.asarray(canvas, dtype=np.float32) / np.float32(255))


class RandomGamma:
    """Show every image through a display curve of its own: hospitals, and years in one, differ in it.

    Args:
        gamma: Smallest and largest exponent, on either side of 1; each side is drawn as often.

    Raises:
        ValueError: If the exponents are not on either side of 1.
    """

    def __init__(self, gamma: tuple[float, float] = (0.5, 2.0)) -> None:
        if not 0 < gamma[0] <= 1 <= gamma[1]:
            raise ValueError(f"gamma must be two numbers above 0 on either side of 1, got {gamma}")
        self.gamma = gamma

    def __call__(self, image: Tensor) -> Tensor:
        """Change `[N, C, H, W]` in [0, 1]; shape, dtype and device stay."""
        distance = torch.rand(len(image), device=image.device, dtype=image.dtype)
        darker = torch.rand(len(image), device=image.device) < 0.5
        low, high = self.gamma
        gamma = torch.where(darker, 1 + distance * (high - 1), 1 - distance * (1 - low))
        return image.pow(gamma.view(-1, 1, 1, 1))


def _check_probabilities(*values: float) -> None:
    if not all(0 <= value <= 1 for value in values):
        raise ValueError(f"probabilities must lie in [0, 1], got {', '.join(map(str, values))}")
