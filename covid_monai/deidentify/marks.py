"""Marks in a picture that look like a line of writing: thin strokes of even height, close together in a row.

A search for what a person should look at, not a reading: no character is recognised. Single letters such as
the side markers L and R are no line. How much it finds and how often it is wrong: docs/deidentification.md.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_MAX_SIDE = 3000  # pixels; larger images are halved: their writing is large too
# Kernels wider than the strokes of small and of large writing, with the least height of a line: what is lower
# belongs to the smaller kernel, and in a large one the shade between two ribs may pass for it. In pixels.
_SMALL, _LARGE = (9, 5), (25, 16)
_CONTRAST = 0.2 * 255  # of a stroke against its surroundings, the picture's range being 255
_MIN_ASPECT = 2.2  # width of a line to its height
_MIN_STROKES = 5  # crossed by a line's typical row of pixels: L, R, PA, AP have fewer


class Line(NamedTuple):
    """Box around what may be writing, in pixels of the picture or of its half."""

    left: int
    top: int
    width: int
    height: int


def has_text_like_marks(image: NDArray[np.generic]) -> bool:
    """Whether anything in a picture looks like a line of writing.

    Args:
        image: [H, W] or [H, W, 3], any range.
    """
    return any(True for _ in text_like_lines(image))


def text_like_lines(image: NDArray[np.generic]) -> Iterator[Line]:
    """Yield what looks like writing, brighter or darker than its surroundings; large writing may come twice.

    Args:
        image: [H, W] or [H, W, 3], any range.
    """
    grey = _to_bytes(image)
    half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # for the largest writing
    for picture, kernel in ((grey, _SMALL), (grey, _LARGE), (half, _LARGE)):
        yield from _lines(picture, *kernel)
        yield from _lines(255 - picture, *kernel)


def _to_bytes(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    grey = np.asarray(image, np.float32)
    if grey.ndim == 3:
        grey = grey.mean(axis=2)
    while max(grey.shape) > _MAX_SIDE:
        grey = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    # The extremes, not percentiles: writing is the brightest or darkest of the picture, and little of it.
    low, high = float(grey.min()), float(grey.max())
    return ((grey - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)


def _lines(picture: NDArray[np.uint8], size: int, min_height: int) -> Iterator[Line]:
    """Bright strokes thinner than `size`, joined to lines where less than `size` lies between them."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    strokes = (cv2.morphologyEx(picture, cv2.MORPH_TOPHAT, kernel) >= _CONTRAST).astype(np.uint8)
    padded = cv2.copyMakeBorder(strokes, 0, 0, size, size, cv2.BORDER_CONSTANT)
    joined = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((1, size), np.uint8))[:, size:-size]
    _, _, boxes, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    for *box, area in boxes[1:].tolist():
        line = Line(*box)
        flat = min_height <= line.height <= 2.5 * size and line.width >= _MIN_ASPECT * line.height
        if flat and area >= 0.55 * line.width * line.height and _is_written(strokes, line):
            yield line


def _is_written(strokes: NDArray[np.uint8], line: Line) -> bool:
    """Whether the rows through the middle of a line cross many strokes, as far apart as letters have them."""
    margin = line.height // 5
    middle = strokes[line.top + margin : line.top + line.height - margin, line.left : line.left + line.width]
    crossed = (np.diff(middle, axis=1, prepend=0, append=0) == 1).sum(axis=1)
    count = float(np.median(crossed))
    if count < _MIN_STROKES:
        return False
    return 0.2 <= line.width / count / line.height <= 1.1 and 0.2 <= float(middle.mean()) <= 0.8
