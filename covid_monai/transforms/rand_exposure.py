"""Random exposure: the same film as another detector or display would show it."""

import math
from typing import Any

import torch
from monai.config import KeysCollection

from covid_monai.transforms.base import RandEachKey, RandIntensity


class RandExposure(RandIntensity):
    """Change brightness and contrast at random: a shifted window, then a gamma curve.

    Exposure, detector curve and display window differ between hospitals; where each class comes from other
    hospitals, a network reads the class off them. The curve never reverses the order of two grey levels.

    MONAI's `RandAdjustContrast` has the gamma only; both ends of the window move here, each on its own.

    Args:
        prob: Probability in [0, 1] that an image is changed.
        gamma: Smallest and largest exponent, above 0; drawn log-uniformly, so that (1/g, g) is balanced.
        shift: Largest distance that either end of the window moves from 0 and 1, in [0, 0.5).

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self, *, prob: float = 0.5, gamma: tuple[float, float] = (0.7, 1.4), shift: float = 0.1
    ) -> None:
        super().__init__(prob)
        if not 0 < gamma[0] <= gamma[1]:
            raise ValueError(f"gamma must be two increasing numbers above 0, got {gamma}")
        if not 0 <= shift < 0.5:
            raise ValueError(f"shift must lie in [0, 0.5), got {shift}")
        self.log_gamma = (math.log(gamma[0]), math.log(gamma[1]))
        self.shift = shift
        self.gamma_value = 1.0
        self.window_low = 0.0
        self.window_high = 1.0

    def randomize(self, data: Any = None) -> None:
        """Draw the exponent and the ends of the window."""
        super().randomize(data)
        if not self.will_apply:
            return
        self.gamma_value = math.exp(self.R.uniform(*self.log_gamma))
        self.window_low = self.R.uniform(-self.shift, self.shift)
        self.window_high = 1 + self.R.uniform(-self.shift, self.shift)

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """Return `image` through the window and the curve drawn last."""
        windowed = image.sub(self.window_low).div_(self.window_high - self.window_low)
        return windowed.clamp_(0, 1).pow_(self.gamma_value)


class RandExposured(RandEachKey):
    """Dictionary version of `RandExposure`; all keys share one draw.

    Args:
        keys: Keys of the images.
        prob: See `RandExposure`.
        gamma: See `RandExposure`.
        shift: See `RandExposure`.
        allow_missing_keys: Skip a missing key instead of raising `KeyError`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        prob: float = 0.5,
        gamma: tuple[float, float] = (0.7, 1.4),
        shift: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandExposure(prob=prob, gamma=gamma, shift=shift), allow_missing_keys)
