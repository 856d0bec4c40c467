"""Probabilities that mean what they say, and sets of classes that hold the truth as often as they promise.

Both are fitted on validation data only, stored beside the weights (`models/calibration.json`), and applied
unchanged. Temperature scaling divides the logits by one number: the ranking of two classes never changes.
A conformal set (see `conformal`) holds every class that cannot be excluded; a set of no class or of several
means "uncertain".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_monai.core.atomic_files import write_text_atomically
from covid_monai.evaluation.decisions.conformal import conformal_notes, conformal_threshold
from covid_monai.evaluation.decisions.temperature import at_temperature, fit_temperature, temperature_notes
from covid_monai.evaluation.metrics.weighted import Floats


@dataclass(frozen=True)
class Calibration:
    """One temperature and one conformal threshold per class, and on which data they were fitted.

    Args:
        class_names: K names, in the order of the probabilities.
        temperature: Divides the logits; above 1 the network was too sure of itself.
        conformal: Class name to the smallest calibrated probability with which the class is in the set;
            0 where there were too few patients, so that the class is in every set.
        coverage: Share of the images of each class whose set is to hold that class, between 0 and 1.
        chosen_on: What both were fitted on: `split`, `n` (images), `patients`, `cases` (class name to
            patients), `datalist_digest`.
        notes: What a reader must know, for example a class with too few patients.

    Raises:
        ValueError: If a value is out of its range, or the classes do not fit.
    """

    class_names: tuple[str, ...]
    temperature: float
    conformal: dict[str, float]
    coverage: float
    chosen_on: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.class_names) < 2 or set(self.class_names) != set(self.conformal):
            raise ValueError(
                f"A calibration needs one conformal threshold per class; found {self.conformal} for "
                f"{', '.join(self.class_names) or 'no class'}."
            )
        if not (0 < self.temperature < np.inf and 0 < self.coverage < 1):
            raise ValueError(
                "A temperature is positive and a coverage lies between 0 and 1; found "
                f"{self.temperature} and {self.coverage}."
            )
        if not all(0 <= threshold <= 1 for threshold in self.conformal.values()):
            raise ValueError(f"Conformal thresholds lie in [0, 1]; found {self.conformal}.")

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Calibrated probabilities, as if the logits had been divided by the temperature.

        Args:
            probabilities: Shape [N, K], the network's own softmax.

        Returns:
            Shape [N, K], rows sum to 1.

        Raises:
            ValueError: If the number of columns is not the number of classes.

        >>> calibration = Calibration(("no", "yes"), 2.0, {"no": 0.5, "yes": 0.5}, 0.9)
        >>> calibration.apply([[0.01, 0.99]]).round(3)
        array([[0.091, 0.909]])
        """
        return at_temperature(self._checked(probabilities), self.temperature)

    def undo(self, calibrated: ArrayLike) -> Floats:
        """The network's own softmax again: inverse of `apply`, up to the rounding of its input."""
        return at_temperature(self._checked(calibrated), 1 / self.temperature)

    def prediction_sets(self, calibrated: ArrayLike) -> NDArray[np.bool_]:
        """Which classes cannot be excluded.

        Args:
            calibrated: Shape [N, K], what `apply` returned (not the network's own softmax).

        Returns:
            Shape [N, K]. Rows with other than one True are "uncertain".

        Raises:
            ValueError: If the number of columns is not the number of classes.
        """
        thresholds = np.array([self.conformal[name] for name in self.class_names])
        return self._checked(calibrated) >= thresholds

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {
            "class_names": list(self.class_names),
            "temperature": self.temperature,
            "conformal": dict(self.conformal),
            "coverage": self.coverage,
            "chosen_on": dict(self.chosen_on),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Calibration":
        """Inverse of `to_json`.

        Raises:
            ValueError: If a value is missing or of the wrong kind.
        """
        try:
            names = tuple(map(str, values["class_names"]))
            return cls(
                names,
                float(values["temperature"]),
                {str(name): float(threshold) for name, threshold in values["conformal"].items()},
                float(values["coverage"]),
                dict(values["chosen_on"]),
                tuple(map(str, values["notes"])),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"Not a calibration: {type(error).__name__} {error}.") from error

    def save(self, path: Path) -> None:
        """Write as JSON, in one step."""
        write_text_atomically(Path(path), json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: If the file is missing.
            ValueError: If it is not a calibration; the message names the file.
        """
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def _checked(self, probabilities: ArrayLike) -> Floats:
        scores = np.asarray(probabilities, dtype=np.float64)
        if scores.ndim != 2 or scores.shape[1] != len(self.class_names):
            raise ValueError(
                f"Probabilities of shape {scores.shape} do not fit the {len(self.class_names)} classes of "
                f"the calibration ({', '.join(self.class_names)})."
            )
        return scores


def fit_calibration(
    labels: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    class_names: Sequence[str],
    *,
    coverage: float = 0.9,
    chosen_on: Mapping[str, Any] | None = None,
) -> Calibration:
    """Fit temperature and conformal thresholds, on validation data.

    Args:
        labels: Shape [N], true class indices.
        probabilities: Shape [N, K], the network's own softmax.
        patients: Shape [N], patient of each image; images of one patient count as one.
        class_names: K names.
        coverage: Share of the images of each class whose set is to hold that class.
        chosen_on: What the data are (`split`, `datalist_digest`); `n`, `patients`, `cases` are added.

    Returns:
        The calibration. `notes` names classes with fewer than `coverage / (1 - coverage)` patients (9 for
        90 %), which are in every set, and a temperature that the data did not determine.

    Raises:
        ValueError: If there are no images or the shapes do not fit.

    >>> probabilities = [[0.99, 0.01], [0.98, 0.02], [0.97, 0.03], [0.01, 0.99]]
    >>> fit_calibration([0, 1, 0, 1], probabilities, range(4), ["no", "yes"]).temperature > 1
    True
    """
    truth, scores = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    names, who = tuple(class_names), np.asarray(patients)
    if len(truth) == 0 or scores.shape != (len(truth), len(names)) or who.shape != truth.shape:
        raise ValueError(
            f"A calibration of {len(names)} classes cannot be fitted on {len(truth)} labels, probabilities "
            f"of shape {scores.shape} and patients of shape {who.shape}."
        )
    temperature = fit_temperature(truth, scores, len(np.unique(who)))
    calibrated = at_temperature(scores, temperature)
    own = {k: truth == k for k in range(len(names))}
    thresholds = {
        name: conformal_threshold(calibrated[own[k], k], who[own[k]], coverage)
        for k, name in enumerate(names)
    }
    cases = {name: len(np.unique(who[own[k]])) for k, name in enumerate(names)}
    given = {**(chosen_on or {}), "n": len(truth), "patients": len(np.unique(who)), "cases": cases}
    notes = (*temperature_notes(truth, scores, temperature), *conformal_notes(cases, coverage))
    return Calibration(names, temperature, thresholds, coverage, given, notes)
