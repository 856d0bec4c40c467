"""An estimate of the lung region on a frontal chest radiograph, without a trained network.

A linear model places one box per lung from a 12 x 12 thumbnail of the image, and the outline of an average
lung is drawn into each box. This is simple on purpose: if the region depended on how dark a lung is, disease
would fall outside of it. `lung_region.json` holds the model; `benchmarks/lung_region.py` fits it again and
prints its accuracy.

Measured by that script (five-fold, patients apart) on 604 radiographs whose lungs people have boxed
(Cohen's collection, boxes by Microwork, CC BY 4.0): mean IoU with their boxes 0.80, 5th percentile 0.63; the
best fixed boxes reach 0.71. Mean Dice with the true lung fields of
synthetic images: 0.82 to 0.84 by class, lowest 0.76.
"""

import json
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.draw import polygon2mask
from skimage.exposure import equalize_hist
from skimage.transform import resize

THUMBNAIL = 12
_EQUALISED = 64
_SMALLEST = 0.1  # of the image's width or height: a lung is never narrower

# An average right lung in its box: x from the flank (0) to the spine (1), y from apex to costophrenic angle.
_OUTLINE_X = np.array([66, 86, 97, 100, 98, 93, 80, 58, 36, 16, 3, 0, 0, 5, 14, 28, 46]) / 100
_OUTLINE_Y = np.array([0, 4, 16, 35, 55, 74, 82, 81, 85, 93, 100, 86, 68, 46, 28, 12, 3]) / 100


def estimate_lung_region(image: ArrayLike) -> NDArray[np.bool_]:
    """Estimate which pixels of a frontal chest radiograph show lung, the lung behind the heart included.

    Only the order of the grey values matters, so that normalised network input can be given as well.

    Args:
        image: `[H, W]`, each at least 2; air is dark, the patient's left on the right.

    Returns:
        `[H, W]`, True in the region; it means nothing for an image that is not a frontal radiograph.

    Raises:
        ValueError: `image` is not two-dimensional or holds values that are not finite.

    >>> region = estimate_lung_region(np.linspace(0, 1, 96 * 80).reshape(96, 80))
    >>> region.shape, bool(0.1 < region.mean() < 0.6)
    ((96, 80), True)
    """
    radiograph = np.asarray(image, dtype=np.float64)
    size = np.array(radiograph.shape)
    mask = np.zeros(radiograph.shape, dtype=bool)
    outlines = (_OUTLINE_X, 1 - _OUTLINE_X)
    for (left, top, right, bottom), x in zip(estimate_lung_boxes(radiograph), outlines, strict=True):
        points = np.column_stack([top + _OUTLINE_Y * (bottom - top), left + x * (right - left)])
        mask |= polygon2mask(radiograph.shape, points * size - 0.5)
    return mask


def estimate_lung_boxes(image: ArrayLike) -> NDArray[np.float64]:
    """Estimate one box per lung; for `image` see `estimate_lung_region`.

    Returns:
        `[2, 4]`: left, top, right, bottom as shares of width and height, in [0, 1]; first the lung on
        the left of the image (the patient's right).
    """
    weights, constant = _model()
    boxes = np.clip((thumbnail_features(image) @ weights + constant).reshape(2, 4), 0, 1)
    low = np.minimum(boxes[:, :2], 1 - _SMALLEST)
    return np.hstack([low, np.maximum(boxes[:, 2:], low + _SMALLEST)])


def thumbnail_features(image: ArrayLike) -> NDArray[np.float64]:
    """Return the image as 144 grey values in [0, 1], histogram equalised: the input of the linear model."""
    radiograph = np.asarray(image, dtype=np.float64)
    if radiograph.ndim != 2 or min(radiograph.shape) < 2 or not np.isfinite(radiograph).all():
        raise ValueError(f"A lung region needs a finite grey image [H, W], but got shape {radiograph.shape}.")
    small = resize(radiograph, (_EQUALISED, _EQUALISED), anti_aliasing=True)
    if np.ptp(small) == 0:
        return np.full(THUMBNAIL * THUMBNAIL, 0.5)
    thumbnail = resize(equalize_hist(small), (THUMBNAIL, THUMBNAIL), anti_aliasing=True)
    return np.asarray(thumbnail).ravel()


@cache
def _model() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    text = resources.files("covid_monai.transforms").joinpath("lung_region.json").read_text(encoding="utf-8")
    model = json.loads(text)
    return np.array(model["weights"]), np.array(model["constant"])
