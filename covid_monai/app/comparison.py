"""Two models' answers to the same image: where they agree, by how much they differ, and where they look."""

from typing import Any

import numpy as np

from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.results.rendering import RgbImage, render_image, resample_heat
from covid_monai.results.wording import finding

_OPACITY = 0.7
# Okabe and Ito: told apart by colour-blind readers too.
FIRST_HOTTER, SECOND_HOTTER = (230, 159, 0), (86, 180, 233)


def agreement(first: Prediction, second: Prediction) -> str:
    """One sentence: whether both models say the same of the image.

    Args:
        first: Of one model.
        second: Of the other, for the same image.
    """
    if not first.ok and not second.ok:
        return "Neither model classified the image."
    if not (first.ok and second.ok):
        which, other = ("first", second) if first.ok else ("second", first)
        return f"Only the {which} model classified the image; the other did not ({other.reason})."
    words = finding(first), finding(second)
    if words[0] == words[1]:
        return f"Both models say the same: {words[0]}."
    return f"The models do not agree. First: {words[0]}. Second: {words[1]}."


def probability_rows(first: Prediction, second: Prediction) -> list[dict[str, Any]]:
    """One row per class that either model knows, in the first model's order.

    Returns:
        `class_name`, `first`, `second` (probabilities, None where a model gives none), `difference`
        (second less first, None where either is missing).
    """
    a, b = first.probabilities or {}, second.probabilities or {}
    return [
        {
            "class_name": name,
            "first": a.get(name),
            "second": b.get(name),
            "difference": b[name] - a[name] if name in a and name in b else None,
        }
        for name in {**a, **b}
    ]


def shared_classes(first: Prediction, second: Prediction) -> list[str]:
    """The classes that both models give a probability for, in the first model's order."""
    return [name for name in first.probabilities or {} if name in (second.probabilities or {})]


def difference_picture(first: ImageWithHeatmap, second: ImageWithHeatmap) -> RgbImage:
    """The image, coloured where one heat map is hotter than the other; the more, the stronger the colour.

    Args:
        first: Image and heat map of one model.
        second: Of the other model, of the same image and class.

    Returns:
        Shape [h, w, 3], as `render_image`: `FIRST_HOTTER` where the first map is hotter, `SECOND_HOTTER`
        where the second is.
    """
    image = render_image(first.image).astype(np.float64)
    size = image.shape[:2]
    difference = resample_heat(first, size) - resample_heat(second, size)
    colours = np.where(difference[..., None] > 0, FIRST_HOTTER, SECOND_HOTTER)
    share = _OPACITY * np.abs(difference)[..., None]
    return (image * (1 - share) + colours * share).round().astype(np.uint8)
