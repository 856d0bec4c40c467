"""What a lung mask says about a radiograph: whether it shows lungs, where, how large and whether cut off."""

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.measure import label
from skimage.transform import resize

from covid_monai.core.number_format import format_percent
from covid_monai.phantoms.radiograph import draw_lung_mask
from covid_monai.transforms.hidden_box import INSIDE, Box

_THRESHOLD = 0.5
_SMALLEST_LUNG = 0.015  # of the image; less is a spot
_FOUND_AREA = (0.08, 0.8)  # of the image
_FOUND = 1.57  # least sum of certainty and likeness; benchmarks/lungs.py counts what it lets through
_TOUCHING = 0.06  # of a border's length: more lung than this is cut off there
_MARGIN = 0.05  # of the image's side, between the lungs and their box
_TEMPLATE = 32  # rows and columns
_PHANTOMS = 30


@dataclass(frozen=True)
class LungQuality:
    """Figures of one lung mask; positions and sizes are shares of the image's width, height or area.

    Args:
        found: Whether the mask shows the lungs of a frontal chest radiograph.
        number: Number of separate regions that are large enough for a lung; two lungs can touch. All other
            figures are those of the two largest.
        areas: Shares of the image that are lung left and right of the middle of the lungs, each in [0, 1].
        center: Centre of the lungs from left to right and from top to bottom, each in [0, 1]; None without
            lungs.
        symmetry: Smaller one of the areas divided by the larger one, in [0, 1]. None without lungs.
        cut_off: Borders of the image that cut the lungs off: of `top`, `bottom`, `left`, `right`.
        certainty: Mean probability of the pixels that are called lung, in [0.5, 1]; 0 without any.
        likeness: Dice of the lungs and of average lungs, both stretched to a square, in [0, 1].
    """

    found: bool
    number: int
    areas: tuple[float, float]
    center: tuple[float, float] | None
    symmetry: float | None
    cut_off: tuple[str, ...]
    certainty: float
    likeness: float

    @property
    def note(self) -> str:
        """The figures that people need, in a sentence."""
        if not self.found:
            return "No lungs were found in the image."
        left, right = (format_percent(area, 0) for area in self.areas)
        sizes = f"Lungs found: {left} of the image on its left side, {right} on its right side."
        return f"{sizes} {self.cut_off_words}" if self.cut_off else sizes

    @property
    def cut_off_words(self) -> str:
        """A sentence that names the borders that cut the lungs off; only where there are such borders."""
        borders = " and ".join(filter(None, (", ".join(self.cut_off[:-1]), self.cut_off[-1])))
        return f"The lungs are cut off at the {borders} of the image."

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `json.dumps`, rounded to three decimals, and the `note`."""
        return {name: _rounded(value) for name, value in asdict(self).items()} | {"note": self.note}


def lung_quality(mask: ArrayLike) -> LungQuality:
    """Describe a soft lung mask `[H, W]` with values in [0, 1].

    >>> mask = np.zeros((64, 64))
    >>> mask[10:50, 6:28] = mask[10:50, 36:58] = 1
    >>> found = lung_quality(mask)
    >>> found.found, found.number, found.symmetry, found.center, found.cut_off
    (True, 2, 1.0, (0.5, 0.46875), ())
    >>> found.note
    'Lungs found: 21 % of the image on its left side, 21 % on its right side.'
    """
    soft = np.asarray(mask, dtype=np.float64)
    if soft.ndim != 2 or not np.isfinite(soft).all():
        raise ValueError(f"A lung mask is a finite array [H, W], not one of shape {soft.shape}.")
    lungs, number = _two_largest(soft > _THRESHOLD)
    if not number:
        return LungQuality(False, 0, (0.0, 0.0), None, None, (), 0.0, 0.0)
    areas, certainty, likeness = _areas(lungs), float(soft[lungs].mean()), _likeness(lungs)
    borders = {"top": lungs[0], "bottom": lungs[-1], "left": lungs[:, 0], "right": lungs[:, -1]}
    return LungQuality(
        found=_FOUND_AREA[0] <= sum(areas) <= _FOUND_AREA[1] and certainty + likeness >= _FOUND,
        number=number,
        areas=areas,
        center=(_middle(lungs.sum(axis=0)), _middle(lungs.sum(axis=1))),
        symmetry=min(areas) / max(areas),
        cut_off=tuple(name for name, line in borders.items() if line.mean() > _TOUCHING),
        certainty=certainty,
        likeness=likeness,
    )


def lung_box(mask: ArrayLike) -> Box:
    """Return the smallest box around the lungs of a soft mask `[H, W]`, with a margin.

    A box and no outline, because an outline would show disease. It is `INSIDE` where no lungs are found.
    """
    if not lung_quality(mask).found:
        return INSIDE
    lungs, _ = _two_largest(np.asarray(mask) > _THRESHOLD)
    (top, bottom), (left, right) = _extent(lungs), _extent(lungs.T)
    return top, bottom, left, right


def _extent(lungs: NDArray[np.bool_]) -> tuple[float, float]:
    """Return where the rows with lungs begin and end, with the margin."""
    rows, height = np.flatnonzero(lungs.any(axis=1)), len(lungs)
    return float(max(rows[0] / height - _MARGIN, 0)), float(min((rows[-1] + 1) / height + _MARGIN, 1))


def _two_largest(lungs: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int]:
    """Return the pixels of the two largest regions, and the number of regions of the size of a lung."""
    regions = label(lungs)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0  # the background
    large = sizes >= _SMALLEST_LUNG * lungs.size
    kept = large & (sizes >= np.sort(sizes)[-2:].min())
    return kept[regions], int(large.sum())


def _likeness(lungs: NDArray[np.bool_]) -> float:
    shape, template = _stretched(lungs), _average_lungs()
    return float(2 * np.minimum(shape, template).sum() / (shape.sum() + template.sum()))


@cache
def _average_lungs() -> NDArray[np.float64]:
    """Return the average of the lungs of phantoms, `[_TEMPLATE, _TEMPLATE]`."""
    masks = (draw_lung_mask(seed=seed, size=128) > _THRESHOLD for seed in range(_PHANTOMS))
    average: NDArray[np.float64] = np.mean([_stretched(mask) for mask in masks], axis=0)
    return average


def _stretched(lungs: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the smallest rectangle around the lungs as a square, `[_TEMPLATE, _TEMPLATE]`, in [0, 1]."""
    rows, columns = (np.flatnonzero(lungs.any(axis=axis)) for axis in (1, 0))
    inside = lungs[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    square: NDArray[np.float64] = resize(
        inside.astype(float), (_TEMPLATE, _TEMPLATE), order=1, anti_aliasing=True
    )
    return square


def _middle(counts: NDArray[np.int64]) -> float:
    """Return the mean position of the lung pixels along an axis, in [0, 1]."""
    return float(np.average((np.arange(len(counts)) + 0.5) / len(counts), weights=counts))


def _areas(lungs: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the shares of the image that are lung on both sides of the middle of the lungs."""
    inside = np.flatnonzero(lungs.any(axis=0))
    left, right = np.split(lungs, [(inside[0] + inside[-1] + 1) // 2], axis=1)
    return float(left.sum() / lungs.size), float(right.sum() / lungs.size)


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value
