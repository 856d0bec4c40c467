"""Random film markers: bright letters near a corner."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from covid_monai.transforms.base import RandEachKey, RandIntensity

MARKER_TEXTS = ("L", "R", "AP", "PA", "SUPINE", "ERECT", "PORTABLE")


@lru_cache(maxsize=512)
def marker_mask(text: str, height: int) -> NDArray[np.float32]:
    """Draw `text` with Pillow's built-in font.

    Cached, because loading the font takes longer than all else in `RandMarker`; the result is read-only.

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
    mask = np.asarray(canvas, dtype=np.float32) / np.float32(255)
    mask.flags.writeable = False
    return mask


class RandMarker(RandIntensity):
    """Draw one bright marker (side, projection, "PORTABLE") near a corner.

    Burned-in letters tell one hospital, or a bedside film of a sick patient, from another; a network reads
    the class off them. Letters at random carry no label.

    Args:
        prob: Probability in [0, 1] that an image is changed.
        texts: What may stand on a marker.
        size: Smallest and largest letter size as a fraction of the image's height, in (0, 0.25].

    Raises:
        ValueError: If an argument is empty or out of its range.
    """

    def __init__(
        self,
        *,
        prob: float = 0.3,
        texts: Sequence[str] = MARKER_TEXTS,
        size: tuple[float, float] = (0.035, 0.075),
    ) -> None:
        super().__init__(prob)
        if isinstance(texts, str) or not texts or not all(texts):
            raise ValueError(f"texts must be a list of non-empty words, got {texts!r}")
        if not 0 < size[0] <= size[1] <= 0.25:
            raise ValueError(f"size must be two increasing numbers in (0, 0.25], got {size}")
        self.texts = tuple(texts)
        self.size = (size[0], size[1])
        self.text = self.texts[0]
        self.size_value = self.size[0]
        self.position = (0.0, 0.0)
        self.level = 1.0

    def randomize(self, data: Any = None) -> None:
        """Draw text, size, position (fractions of the free rows and columns) and level."""
        super().randomize(data)
        if not self.will_apply:
            return
        self.text = self.texts[self.R.randint(len(self.texts))]
        self.size_value = self.R.uniform(*self.size)
        # The outer quarter at either end of both axes: near a corner, off the lung fields as a rule.
        row, column = self.R.uniform(0, 0.25, 2) + 0.75 * self.R.randint(2, size=2)
        self.position = (float(row), float(column))
        self.level = self.R.uniform(0.85, 1.0)

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """Return a copy of `image` with the marker drawn last; letters that do not fit are cut off."""
        height, width = image.shape[-2:]
        mask = marker_mask(self.text, max(6, round(self.size_value * height)))[:height, :width]
        rows, columns = mask.shape
        top = round(self.position[0] * (height - rows))
        left = round(self.position[1] * (width - columns))
        marked = image.clone()
        region = marked[..., top : top + rows, left : left + columns]
        # A copy of the mask: it is read-only, and PyTorch knows no such thing.
        letters = torch.from_numpy(mask.copy()).to(region)
        region.lerp_(torch.full_like(region, self.level), letters.expand_as(region))
        return marked


class RandMarkerd(RandEachKey):
    """Dictionary version of `RandMarker`; all keys share one draw.

    Args:
        keys: Keys of the images.
        prob: See `RandMarker`.
        texts: See `RandMarker`.
        size: See `RandMarker`.
        allow_missing_keys: Skip a missing key instead of raising `KeyError`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        prob: float = 0.3,
        texts: Sequence[str] = MARKER_TEXTS,
        size: tuple[float, float] = (0.035, 0.075),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandMarker(prob=prob, texts=texts, size=size), allow_missing_keys)
