"""How a bundle's probabilities were spread on its validation images, and how far others are from that.

Population stability index: over ten bins of equal shares in the reference, the sum of
(found - expected) * ln(found / expected). Nothing about who is ill: a scanner replaced, another kind of ward,
a preprocessing gone wrong all move it. Rule of thumb: below 0.1 nothing, above 0.25 look into it. Under no
change at all its mean is about 9 * (1 / n + 1 / m) for n images held against m: with less than 200 images it
says little.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from covid_monai.core.atomic_files import write_text_atomically

_BINS = 10
_PRIOR = 0.5  # images added to each bin, so that an empty one has a logarithm


@dataclass(frozen=True)
class ScoreReference:
    """Shares of the validation images by calibrated probability, class by class.

    Args:
        class_names: K names, in the order of the probabilities.
        edges: Class name to the inner edges of the bins, ascending; fewer than nine where values repeat.
        counts: Class name to images a bin, one more than edges.
        chosen_on: `split`, `n`, `datalist_digest`.
    """

    class_names: tuple[str, ...]
    edges: dict[str, list[float]]
    counts: dict[str, list[int]]
    chosen_on: dict[str, Any] = field(default_factory=dict)

    def stability_index(self, probabilities: ArrayLike) -> dict[str, float]:
        """Population stability index of each class.

        Args:
            probabilities: Shape [N, K], calibrated; N at least 1.
        """
        columns = np.asarray(probabilities, dtype=np.float64).T
        return {
            name: _index(self.counts[name], _count(column, self.edges[name]))
            for name, column in zip(self.class_names, columns, strict=True)
        }

    def save(self, path: Path) -> None:
        """Write as JSON, in one step."""
        write_text_atomically(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> "ScoreReference":
        """Read what `save` wrote.

        Raises:
            ValueError: If it is damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            reference = cls(**{**content, "class_names": tuple(content["class_names"])})
            fits = all(
                len(reference.counts[name]) == len(reference.edges[name]) + 1
                for name in reference.class_names
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no score reference of this project, or is damaged: {error}"
            ) from error
        if not fits:
            raise ValueError(f"{path}: counts and edges do not fit; fit it again by training")
        return reference


def fit_score_reference(
    probabilities: ArrayLike, class_names: Sequence[str], *, chosen_on: dict[str, Any]
) -> ScoreReference:
    """Deciles of the probabilities, class by class.

    Args:
        probabilities: Shape [N, K], calibrated, of images that stand for the intended use; N at least 1.
        class_names: K names.
        chosen_on: Where the images come from.

    >>> reference = fit_score_reference([[0.1, 0.9], [0.6, 0.4]], ("no", "yes"), chosen_on={})
    >>> sum(reference.counts["yes"])
    2
    """
    columns = np.asarray(probabilities, dtype=np.float64).T
    edges = {
        name: np.unique(np.quantile(column, np.arange(1, _BINS) / _BINS).round(6)).tolist()
        for name, column in zip(class_names, columns, strict=True)
    }
    counts = {name: _count(column, edges[name]) for name, column in zip(class_names, columns, strict=True)}
    origin = {**chosen_on, "n": columns.shape[1]}
    return ScoreReference(tuple(class_names), edges, counts, origin)


def _count(values: np.ndarray, edges: Sequence[float]) -> list[int]:
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).tolist()


def _index(expected: Sequence[int], found: Sequence[int]) -> float:
    shares = [np.asarray(counts, dtype=np.float64) + _PRIOR for counts in (expected, found)]
    expected_share, found_share = (counts / counts.sum() for counts in shares)
    return float(np.sum((found_share - expected_share) * np.log(found_share / expected_share)))
