"""Reference distribution of a bundle's probabilities, and how far those of other images are from it.

The distance is the population stability index: over ten bins with equal shares in the reference, the sum of
(found - expected) * ln(found / expected). It says nothing about disease: a replaced scanner, another kind of
ward and an error in the preprocessing all change it. Rule of thumb: below 0.1 nothing changed, above 0.25 the
cause should be looked for. Without any change its mean is about 9 * (1 / n + 1 / m) for n images compared
with m, so it says little with fewer than 200 images.

Each validation image counts the same, other than where thresholds are fitted: what it is compared with, the
images of a ward as they come, has no weights either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from covid_monai.evaluation.decisions.json_record import JsonRecord

_BINS = 10
_PRIOR = 0.5  # images added to each bin, so that an empty bin has a logarithm


@dataclass(frozen=True)
class ScoreReference(JsonRecord):
    """Number of validation images per bin of the calibrated probability, for each class.

    Args:
        class_names: K names, in the order of the probabilities.
        edges: Class name to the inner edges of the bins, ascending; fewer than nine where values repeat.
        counts: Class name to the images of each bin, one more than edges.
        chosen_on: Description of the data: `split`, `n`, `datalist_digest`.

    Raises:
        ValueError: If counts and edges do not fit.
    """

    class_names: tuple[str, ...]
    edges: dict[str, list[float]]
    counts: dict[str, list[int]]
    chosen_on: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(len(self.counts[name]) != len(self.edges[name]) + 1 for name in self.class_names):
            raise ValueError("A score reference needs one count more than edges for every class.")

    def stability_index(self, probabilities: ArrayLike) -> dict[str, float]:
        """Return the population stability index of each class.

        Args:
            probabilities: Shape [N, K], calibrated; N at least 1.
        """
        columns = np.asarray(probabilities, dtype=np.float64).T
        return {
            name: _index(self.counts[name], _count(column, self.edges[name]))
            for name, column in zip(self.class_names, columns, strict=True)
        }


def fit_score_reference(
    probabilities: ArrayLike, class_names: Sequence[str], *, chosen_on: Mapping[str, Any]
) -> ScoreReference:
    """Count images between the deciles of the probabilities, class by class.

    Args:
        probabilities: Shape [N, K], calibrated, of images that stand for the intended use; N at least 1.
        class_names: K names.
        chosen_on: Description of the data; `n` is added.

    >>> reference = fit_score_reference([[0.1, 0.9], [0.6, 0.4]], ("no", "yes"), chosen_on={})
    >>> sum(reference.counts["yes"])
    2
    """
    columns = dict(zip(class_names, np.asarray(probabilities, dtype=np.float64).T, strict=True))
    deciles = np.arange(1, _BINS) / _BINS
    edges = {name: np.unique(np.quantile(each, deciles).round(6)).tolist() for name, each in columns.items()}
    counts = {name: _count(each, edges[name]) for name, each in columns.items()}
    return ScoreReference(
        tuple(class_names), edges, counts, {**chosen_on, "n": len(np.asarray(probabilities))}
    )


def _count(values: np.ndarray, edges: Sequence[float]) -> list[int]:
    counts: list[int] = np.bincount(
        np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1
    ).tolist()
    return counts


def _index(expected: Sequence[int], found: Sequence[int]) -> float:
    shares = [np.asarray(counts, dtype=np.float64) + _PRIOR for counts in (expected, found)]
    expected_share, found_share = (counts / counts.sum() for counts in shares)
    return float(np.sum((found_share - expected_share) * np.log(found_share / expected_share)))
