"""A canvas for soft shapes: polygons and lines in body coordinates, drawn as float layers.

Body coordinates: x from -1 (the patient's right) to 1 (left), y from -1 (top of the image) to 1, before the
positioning (scale, rotation, shift) that the canvas applies to every point.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

Layer = NDArray[np.float32]
_COARSE = 4  # soft layers are computed on a grid this much coarser, which is fast and loses nothing visible
_REFERENCE_SIZE = 512  # blur is stated in pixels of an image of this size


class Line(NamedTuple):
    """An open path: `points` is [N, 2], `width` is in body units, `level` in [0, 1]."""

    points: NDArray[np.float64]
    width: float
    level: float = 1.0


class Canvas:
    """A drawing surface that returns each shape as a float32 layer `[size, size]` with values in [0, 1].

    It applies `matrix` (scale and rotation, [2, 2]) to every point, and then adds `shift` [2].
    """

    def __init__(self, size: int, *, matrix: ArrayLike | None = None, shift: ArrayLike = (0.0, 0.0)) -> None:
        self.size = size
        self.matrix = np.eye(2) if matrix is None else np.asarray(matrix, dtype=np.float64)
        self.shift = np.asarray(shift, dtype=np.float64)

    def fill(self, polygons: Iterable[NDArray[np.float64]], *, blur: float) -> Layer:
        """Return the union of closed polygons, their edges softened by `blur` pixels of 512."""
        sheet, size = self._sheet(blur)
        draw = ImageDraw.Draw(sheet)
        for points in polygons:
            draw.polygon(self._pixels(points, size), fill=255)
        return self._soften(sheet, blur)

    def stroke(self, lines: Sequence[Line], *, blur: float) -> Layer:
        """Return lines drawn on top of one another, softened by `blur` pixels of 512."""
        sheet, size = self._sheet(blur)
        draw = ImageDraw.Draw(sheet)
        for points, width, level in lines:
            wide = max(1, round(width * size / 2))
            draw.line(self._pixels(points, size), fill=round(255 * level), width=wide)
        return self._soften(sheet, blur)

    def reduced(self, *, smallest: int) -> "Canvas":
        """Return a canvas of half the size, but not below `smallest`, for layers without fine detail."""
        size = max(self.size // 2, min(self.size, smallest))
        return Canvas(size, matrix=self.matrix, shift=self.shift)

    def coordinates(self) -> tuple[Layer, Layer]:
        """Return x and y in body coordinates, each [size, size], for shapes given by a formula."""
        axis = (np.arange(self.size) + 0.5) / self.size * 2 - 1
        image = np.stack(np.meshgrid(axis, axis), axis=-1) - self.shift
        body = (image @ np.linalg.inv(self.matrix).T).astype(np.float32)
        return body[..., 0], body[..., 1]

    def enlarge(self, layer: Layer) -> Layer:
        """Return the layer of a reduced canvas at the size of this one."""
        image = Image.fromarray(layer).resize((self.size, self.size), Image.Resampling.BICUBIC)
        return np.array(image, dtype=np.float32)  # a copy: Pillow's own memory is read-only

    def noise(self, rng: np.random.Generator, *, cells: Sequence[int]) -> Layer:
        """Return cloudy noise with unit variance: the sum of one octave for each number of cells."""
        octaves = (rng.standard_normal((number, number), dtype=np.float32) for number in cells)
        total = sum((self.enlarge(octave) for octave in octaves), np.float32(0))
        return np.asarray(total / max(float(np.std(total)), 1e-6), dtype=np.float32)

    def _sheet(self, blur: float) -> tuple[Image.Image, int]:
        size = self.size // _COARSE if blur * self.size / _REFERENCE_SIZE >= _COARSE else self.size
        return Image.new("L", (size, size)), size

    def _pixels(self, points: NDArray[np.float64], size: int) -> list[tuple[float, float]]:
        placed = (points @ self.matrix.T + self.shift + 1) * (size / 2) - 0.5
        return list(zip(*placed.T.tolist(), strict=True))

    def _soften(self, sheet: Image.Image, blur: float) -> Layer:
        sheet = sheet.filter(ImageFilter.GaussianBlur(blur * sheet.width / _REFERENCE_SIZE))
        if sheet.width != self.size:
            sheet = sheet.resize((self.size, self.size), Image.Resampling.BICUBIC)
        return np.asarray(sheet, dtype=np.float32) * np.float32(1 / 255)


def spline(points: ArrayLike, *, closed: bool = False, steps: int = 10) -> NDArray[np.float64]:
    """Return a smooth path [M, 2] through `points` [N, 2] (Catmull-Rom), with `steps` points for each span.

    >>> spline([[0, 0], [1, 0], [2, 0]], steps=2).tolist()
    [[0.0, 0.0], [0.4375, 0.0], [1.0, 0.0], [1.5625, 0.0], [2.0, 0.0]]
    """
    knots = np.asarray(points, dtype=np.float64)
    before, after = (knots[-1:], knots[:2]) if closed else (knots[:1], knots[-1:])
    padded = np.concatenate([before, knots, after])
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    t = (np.arange(steps) / steps)[None, :, None]
    path = p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    path = path.reshape(-1, 2)
    return path if closed else np.concatenate([path, knots[-1:]])


def ellipse(center: tuple[float, float], radii: tuple[float, float]) -> NDArray[np.float64]:
    """Return the outline of an ellipse as [36, 2] points."""
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    return np.stack([center[0] + radii[0] * np.cos(angle), center[1] + radii[1] * np.sin(angle)], axis=1)
