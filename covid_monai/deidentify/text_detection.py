"""Search for writing in an image: thin strokes of even height, close together in a row.

No character is recognised: the search finds what a person should look at. Single letters, such as the side
markers L and R, are not a line. docs/deidentification.md says how much it finds and how often it is wrong.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_MAX_SIDE = 3000  # pixels; larger images are halved, because their writing is large too
# Width of a kernel, wider than the strokes of small or of large writing, and the least height of a line, in
# pixels. Lower lines belong to the smaller kernel: in the larger one the shade between two ribs looks alike.
_SMALL, _LARGE = (9, 5), (25, 16)
_CONTRAST = 0.2 * 255  # of a stroke against its surroundings, in an image whose range is 255
_MIN_ASPECT = 2.2  # width of a line to its height
_MIN_STROKES = 5  # crossed by a line's typical row of pixels: L, R, PA, AP have fewer


class TextLine(NamedTuple):
    """Box around a possible line of writing, in pixels of the image or of the image at half its size."""

    left: int
    top: int
    width: int
    height: int


def has_text(image: NDArray[np.generic]) -> bool:
    """Tell whether anything in an image, [H, W] or [H, W, 3] of any range, looks like a line of writing."""
    return any(True for _ in find_text_lines(image))


def find_text_lines(image: NDArray[np.generic]) -> Iterator[TextLine]:
    """Yield lines that look like writing, brighter or darker than around them; large ones maybe twice."""
    grey = _to_bytes(image)
    half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # for the largest writing
    for scaled, kernel in ((grey, _SMALL), (grey, _LARGE), (half, _LARGE)):
        yield from _find_lines(scaled, *kernel)
        yield from _find_lines(255 - scaled, *kernel)


def _to_bytes(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    grey = np.asarray(image, np.float32)
    if grey.ndim == 3:
        grey = grey.mean(axis=2)
    while max(grey.shape) > _MAX_SIDE:
        grey = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    # Extremes, not percentiles: writing covers few pixels, and they are the brightest or darkest ones.
    low, high = float(grey.min()), float(grey.max())
    return ((grey - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)


def _find_lines(grey: NDArray[np.uint8], size: int, min_height: int) -> Iterator[TextLine]:
    """Yield lines of bright strokes that are thinner than `size` and less than `size` apart."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    strokes = (cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, kernel) >= _CONTRAST).astype(np.uint8)
    padded = cv2.copyMakeBorder(strokes, 0, 0, size, size, cv2.BORDER_CONSTANT)
    joined = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((1, size), np.uint8))[:, size:-size]
    _, _, boxes, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    for *box, area in boxes[1:].tolist():
        line = TextLine(*box)
        flat = min_height <= line.height <= 2.5 * size and line.width >= _MIN_ASPECT * line.height
        if flat and area >= 0.55 * line.width * line.height and _is_written(strokes, line):
            yield line


def _is_written(strokes: NDArray[np.uint8], line: TextLine) -> bool:
    """Tell whether rows through the middle of a line cross many strokes, as far apart as in letters."""
    margin = line.height // 5
    middle = strokes[line.top + margin : line.top + line.height - margin, line.left : line.left + line.width]
    crossed = (np.diff(middle, axis=1, prepend=0, append=0) == 1).sum(axis=1)
    count = float(np.median(crossed))
    if count < _MIN_STROKES:
        return False
    return 0.2 <= line.width / count / line.height <= 1.1 and 0.2 <= float(middle.mean()) <= 0.8
