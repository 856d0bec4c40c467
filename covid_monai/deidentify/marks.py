"""Marks in a picture that look like written text: rows of small shapes of one height, sharp and of even tone.

A search for what a person should look at, not a reading: no character is recognised. Single letters such as
the side markers L and R make no row. How much it finds and how often it is wrong: docs/deidentification.md.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_GLYPHS = 4  # shorter rows are side and view markers: L, R, PA, AP, SUP
_MIN_HEIGHT, _MAX_HEIGHT = 5, 90  # pixels
_MAX_SIDE = 3000  # larger films are halved: their writing is large too
_MIN_CONTRAST = 0.25  # of a glyph against its surroundings, as a part of the picture's range


class Glyph(NamedTuple):
    """Box of one connected shape, in pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """First column behind it."""
        return self.left + self.width


def has_text_like_marks(image: NDArray[np.generic]) -> bool:
    """Whether any row of glyphs stands in a picture.

    Args:
        image: [H, W] or [H, W, 3], any range.
    """
    return any(True for _ in text_like_rows(image))


def text_like_rows(image: NDArray[np.generic]) -> Iterator[list[Glyph]]:
    """Yield rows of at least `MIN_GLYPHS` glyphs, brighter or darker than what is around them."""
    grey = _to_bytes(image)
    for picture in (grey, 255 - grey):
        for size in (9, 25):  # wider than the strokes of small and of large writing
            yield from _rows(_glyphs(picture, size))


def _to_bytes(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    grey = np.asarray(image, np.float32)
    if grey.ndim == 3:
        grey = grey.mean(axis=2)
    while max(grey.shape) > _MAX_SIDE:
        grey = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    # The extremes, not percentiles: writing is the brightest or darkest of the picture, and little of it.
    low, high = float(grey.min()), float(grey.max())
    return ((grey - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)


def _glyphs(picture: NDArray[np.uint8], size: int) -> list[Glyph]:
    """Connected thin bright shapes whose form and tone could be a character's."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    strokes = cv2.morphologyEx(picture, cv2.MORPH_TOPHAT, kernel)
    mask = (strokes >= _MIN_CONTRAST * 255).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    glyphs = []
    for label in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[label])
        if not (
            _MIN_HEIGHT <= height <= _MAX_HEIGHT and width <= 1.6 * height and area >= 0.12 * width * height
        ):
            continue
        if height > 4 * size:
            continue
        box = np.s_[top : top + height, left : left + width]
        tones = picture[box][labels[box] == label]
        if tones.std() <= 0.15 * 255:
            glyphs.append(Glyph(left, top, width, height))
    return glyphs


def _rows(glyphs: list[Glyph]) -> Iterator[list[Glyph]]:
    """Chains of neighbours: about as high, on one line, no further apart than letters and words."""
    remaining = sorted(glyphs)
    while remaining:
        row, rest = [remaining[0]], list[Glyph]()
        for glyph in remaining[1:]:
            (row if _follows(row[-1], glyph) else rest).append(glyph)
        if len(row) >= MIN_GLYPHS:
            yield row
        remaining = rest


def _follows(before: Glyph, after: Glyph) -> bool:
    height = max(before.height, after.height)
    baseline = abs(before.top + before.height - after.top - after.height)
    gap = after.left - before.right
    return (
        min(before.height, after.height) >= 0.6 * height
        and baseline <= 0.25 * height
        and -2 <= gap <= 1.2 * height
    )
