"""The images that the report shows: the most confident errors, and typical correct decisions."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps
from scipy.ndimage import binary_erosion

from covid_monai.evaluation.metrics.prediction_table import PredictionTable
from covid_monai.evaluation.report.templates import data_uri
from covid_monai.transforms.heatmap_overlay import overlay_heatmap

ERRORS_PER_CLASS = 6
RIGHT_PER_CLASS = 3
_SIDE = 256  # pixels in the page
_QUALITY = 80
_OUTLINE = (0, 230, 230)


@dataclass(frozen=True)
class Case:
    """One image of the gallery: its row in the predictions, true and decided class, and probability."""

    index: int
    image: str
    truth: int
    decision: int
    probability: float

    @property
    def right(self) -> bool:
        """Whether the decision was correct."""
        return self.truth == self.decision


def choose_cases(predictions: PredictionTable, decisions: ArrayLike) -> list[Case]:
    """Choose images of each true class, at most one error and one correct decision per patient.

    The most confident errors are chosen, and correct decisions of medium confidence, which are neither the
    clearest nor the luckiest.

    Args:
        predictions: Rows to choose from.
        decisions: Shape [N], decided class indices.

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
            (wrong[np.argsort(-scores[wrong], kind="stable")], ERRORS_PER_CLASS),
            (right[np.argsort(np.abs(scores[right] - middle), kind="stable")], RIGHT_PER_CLASS),
        )
        for order, most in orders:
            _, first_of_patient = np.unique(predictions.patients[order], return_index=True)
            for row in order[np.sort(first_of_patient)[:most]].tolist():
                image, probability = str(predictions.images[row]), float(scores[row])
                cases.append(Case(row, image, k, int(decided[row]), probability))
    return cases


def image_uri(image: ArrayLike) -> str:
    """Return an image [H, W] as a data URI, its lowest value black and its highest white."""
    return _jpeg_uri((_stretched(image) * 255).round().astype(np.uint8))


def overlay_uri(image: ArrayLike, heatmap: ArrayLike, region: ArrayLike) -> str:
    """Return an image [H, W] with a heat map in [0, 1] and the outline of a region, as a data URI."""
    return _jpeg_uri(overlay_heatmap(_stretched(image), heatmap), region=np.asarray(region, dtype=bool))


def _stretched(image: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(image, dtype=np.float64)
    return np.asarray((values - values.min()) / (np.ptp(values) or 1))


def _jpeg_uri(pixels: NDArray[np.uint8], *, region: NDArray[np.bool_] | None = None) -> str:
    picture = ImageOps.contain(Image.fromarray(pixels), (_SIDE, _SIDE))
    if region is not None:
        inside = np.asarray(Image.fromarray(region).resize(picture.size, Image.Resampling.NEAREST))
        outlined = np.array(picture)
        outlined[inside & ~binary_erosion(inside)] = _OUTLINE
        picture = Image.fromarray(outlined)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_QUALITY)
    return data_uri(buffer.getvalue(), "image/jpeg")
