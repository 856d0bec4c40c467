"""Random collimation: dark or bright strips along the edges of a film."""

from typing import Any

import torch
from monai.config import KeysCollection

from covid_monai.transforms.base import RandEachKey, RandIntensity


class RandCollimation(RandIntensity):
    """Cover the edges of an image with strips of one dark or bright level.

    Frames, collimator edges and scanner borders tell one hospital from another; where each class comes from
    other hospitals, a network reads the class off them. Strips at random sides and widths carry no label.

    Args:
        prob: Probability in [0, 1] that an image is changed.
        max_fraction: Widest strip as a fraction of the side it takes from, in (0, 0.25].
        side_prob: Probability in [0, 1] that a side gets a strip; at least one side does.
        bright_prob: Probability in [0, 1] that the strips are bright (a scanned film's surround) rather than
            dark (a collimator).

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        prob: float = 0.3,
        max_fraction: float = 0.12,
        side_prob: float = 0.6,
        bright_prob: float = 0.2,
    ) -> None:
        super().__init__(prob)
        if not 0 < max_fraction <= 0.25:
            raise ValueError(f"max_fraction must lie in (0, 0.25], got {max_fraction}")
        if not (0 <= side_prob <= 1 and 0 <= bright_prob <= 1):
            raise ValueError(f"probabilities must lie in [0, 1], got {side_prob} and {bright_prob}")
        self.max_fraction = max_fraction
        self.side_prob = side_prob
        self.bright_prob = bright_prob
        self.widths = (0.0, 0.0, 0.0, 0.0)
        self.level = 0.0

    def randomize(self, data: Any = None) -> None:
        """Draw the widths (fractions: top, bottom, left, right) and the level."""
        super().randomize(data)
        if not self.will_apply:
            return
        covered = self.R.random_sample(4) < self.side_prob
        covered[self.R.randint(4)] = True
        self.widths = tuple((covered * self.R.uniform(0, self.max_fraction, 4)).tolist())
        depth = self.R.uniform(0, 0.08)
        self.level = 1 - depth if self.R.rand() < self.bright_prob else depth

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """Return a copy of `image` with the strips drawn last."""
        height, width = image.shape[-2:]
        top, bottom = round(self.widths[0] * height), round(self.widths[1] * height)
        left, right = round(self.widths[2] * width), round(self.widths[3] * width)
        covered = image.clone()
        covered[..., :top, :] = self.level
        covered[..., height - bottom :, :] = self.level
        covered[..., :left] = self.level
        covered[..., width - right :] = self.level
        return covered


class RandCollimationd(RandEachKey):
    """Dictionary version of `RandCollimation`; all keys share one draw.

    Args:
        keys: Keys of the images.
        prob: See `RandCollimation`.
        max_fraction: See `RandCollimation`.
        side_prob: See `RandCollimation`.
        bright_prob: See `RandCollimation`.
        allow_missing_keys: Skip a missing key instead of raising `KeyError`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        prob: float = 0.3,
        max_fraction: float = 0.12,
        side_prob: float = 0.6,
        bright_prob: float = 0.2,
        allow_missing_keys: bool = False,
    ) -> None:
        transform = RandCollimation(
            prob=prob, max_fraction=max_fraction, side_prob=side_prob, bright_prob=bright_prob
        )
        super().__init__(keys, transform, allow_missing_keys)
