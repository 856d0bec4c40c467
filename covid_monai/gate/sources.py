"""The training source that an image resembles, if it resembles one.

This is a note beside a result, no refusal. It is weak: most images of a hospital that the training has not
seen resemble one of its sources, too. Therefore the note says how many did so when the sources were left out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.core.number_format import format_percent
from covid_monai.gate.descriptor import Floats

UNLIKE_ALL = "The image is unlike all training sources: expect the figures of unseen hospitals."


@dataclass(frozen=True)
class TrainingSources:
    """Statistics of each source of the training images; `S` sources, `D` numbers in a descriptor."""

    names: tuple[str, ...]
    means: Floats  # of the descriptors of each source, [S, D]
    scale: Floats  # standard deviation of the descriptors within sources, [D]
    precision: Floats  # inverse covariance within sources, of standardised descriptors, [D, D]
    limits: Floats  # distance within which 95 % of the held-out images of a source lie, [S]
    # Lowest and highest share of the images of a left-out source that resembled another; None with one source
    resembled_when_left_out: tuple[float, float] | None

    def distances(self, descriptors: Floats) -> Floats:
        """Return the Mahalanobis distance from the mean of each source: `[..., D]` to `[..., S]`."""
        standard = (descriptors[..., None, :] - self.means) / self.scale
        squared = ((standard @ self.precision) * standard).sum(axis=-1)
        distances: Floats = np.sqrt(np.maximum(squared, 0) / len(self.scale))
        return distances

    def resembles(self, descriptors: Floats) -> NDArray[np.bool_]:
        """Return whether images lie within the limit of each source: `[..., D]` to `[..., S]`."""
        resembling: NDArray[np.bool_] = self.distances(descriptors) <= self.limits
        return resembling

    def note(self, descriptor: Floats) -> dict[str, Any]:
        """Return the `source_shift` of a `Prediction` for an image with this descriptor `[D]`."""
        distances = self.distances(descriptor)
        distances[~(distances <= self.limits)] = np.inf  # one that is no number, too
        if np.isinf(distances).all():
            return {"nearest": None, "like_training": False, "note": UNLIKE_ALL}
        nearest = self.names[int(distances.argmin())]
        return {"nearest": nearest, "like_training": True, "note": self._caution(nearest)}

    def _caution(self, nearest: str) -> str:
        resembles = f"The image resembles the training images of {nearest}"
        if self.resembled_when_left_out is None:
            return f"{resembles}; images of other hospitals may do so, too."
        low, high = (format_percent(share, 0) for share in self.resembled_when_left_out)
        return f"{resembles}, as did {low} to {high} of the images of a source that was left out on trial."
