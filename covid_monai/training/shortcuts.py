"""Random changes that fight shortcuts: borders and curves that carry no label; letters are in `markers.py`.

Each works on a whole batch in [0, 1] at once, on its device, and draws from torch's global generator, so a
seeded run repeats exactly. Every image is computed and the drawn ones are chosen afterwards: on a GPU nothing
waits, on a CPU a batch costs less than image by image.
"""

import torch
from torch import Tensor


class RandomCollimation:
    """Cover the edges of some images with strips of one dark or bright level.

    Frames, collimator edges and scanner borders tell one hospital from another; where each class comes from
    other hospitals, a network reads the class off them. Strips at random sides and widths carry no label.

    Args:
        probability: That an image is changed, in [0, 1].
        max_fraction: Widest strip as a fraction of the side it takes from, in (0, 0.25].
        side_probability: That a side gets a strip, in [0, 1]; at least one side does.
        bright_probability: That the strips are bright (a scanned image's surround) rather than dark (a
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
        check_probabilities(probability, side_probability, bright_probability)
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


def check_probabilities(*values: float) -> None:
    """Raise `ValueError` unless all lie in [0, 1]."""
    if not all(0 <= value <= 1 for value in values):
        raise ValueError(f"probabilities must lie in [0, 1], got {', '.join(map(str, values))}")
