"""The images that the report shows: the most confident errors, and typical correct decisions."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from covid_monai.evaluation.metrics.prediction_table import PredictionTable
from covid_monai.evaluation.report.html_template import data_uri
from covid_monai.transforms.heatmap_overlay import overlay_heatmap

ERRORS_PER_CLASS = 6
RIGHT_PER_CLASS = 3
_SIDE = 256  # pixels in the page
_QUALITY = 80
_OUTLINE = (0, 230, 230)


@dataclass(frozen=True)
class Case:
    """One image of the gallery.

    Args:
        index: Row in the predictions.
        image: Path of the image.
        truth: Index of the true class.
        decision: Index of the decided class.
        probability: Probability of the decided class.
    """

    index: int
    image: str
    truth: int
    decision: int
    probability: float

    @property
    def right(self) -> bool:
        """Whether the decision was correct."""
        return self.truth == self.decision


def choose_cases(
    predictions: PredictionTable,
    decisions: ArrayLike,
    *,
    errors_per_class: int = ERRORS_PER_CLASS,
    right_per_class: int = RIGHT_PER_CLASS,
) -> list[Case]:
    """Choose images of each true class, at most one error and one correct decision per patient.

    Args:
        predictions: Rows to choose from.
        decisions: Shape [N], decided class indices.
        errors_per_class: Maximum number of errors, the most confident first.
        right_per_class: Maximum number of correct decisions. Those of medium confidence are chosen, which
            are neither the clearest nor the luckiest.

    Returns:
        Cases by true class; in each class errors before correct decisions.
    """
    decided = np.asarray(decisions, dtype=np.int64)
    scores = predictions.probabilities[np.arange(len(decided)), decided]
    cases: list[Case] = []
    for k in range(len(predictions.class_names)):
        of_class = predictions.labels == k
        wrong, right = np.flatnonzero(of_class & (decided != k)), np.flatnonzero(of_class & (decided == k))
        middle = np.median(scores[right]) if len(right) else 0.0
        orders = (
            (wrong[np.argsort(-scores[wrong], kind="stable")], errors_per_class),
            (right[np.argsort(np.abs(scores[right] - middle), kind="stable")], right_per_class),
        )
        for order, most in orders:
            for row in list(_first_of_each_patient(order, predictions.patients))[:most]:
                image, probability = str(predictions.images[row]), float(scores[row])
                cases.append(Case(int(row), image, k, int(decided[row]), probability))
    return cases


def _first_of_each_patient(rows: NDArray[np.int64], patients: NDArray[np.str_]) -> Iterator[int]:
    seen: set[str] = set()
    for row in rows.tolist():
        if patients[row] not in seen:
            seen.add(patients[row])
            yield row


def image_uri(image: ArrayLike) -> str:
    """Return an image as a data URI (JPEG, at most 256 pixels wide and high).

    Args:
        image: Shape [H, W]; its lowest value is shown black, its highest white.
    """
    return _jpeg_uri((_stretched(image) * 255).round().astype(np.uint8))


def overlay_uri(image: ArrayLike, heatmap: ArrayLike, region: ArrayLike) -> str:
    """Return an image with a heat map over it and the lung region outlined, as a data URI.

    Args:
        image: Shape [H, W].
        heatmap: Shape [H, W], in [0, 1].
        region: Shape [H, W], True inside the lungs.
    """
    return _jpeg_uri(overlay_heatmap(_stretched(image), heatmap), region=np.asarray(region, dtype=bool))


def _stretched(image: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(image, dtype=np.float64)
    extent = np.ptp(values)
    return (values - values.min()) / extent if extent > 0 else np.zeros_like(values)


def _jpeg_uri(pixels: NDArray[np.uint8], *, region: NDArray[np.bool_] | None = None) -> str:
    picture = Image.fromarray(pixels)
    scale = _SIDE / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    if region is not None:
        inside = np.asarray(Image.fromarray(region).resize(size, Image.Resampling.NEAREST))
        outlined = np.array(picture)
        outlined[inside & ~binary_erosion(inside)] = _OUTLINE
        picture = Image.fromarray(outlined)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_QUALITY)
    return data_uri(buffer.getvalue(), "image/jpeg")
