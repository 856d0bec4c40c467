"""Calibrated probabilities, and sets of the classes that cannot be excluded.

Both are fitted on validation data only, stored beside the weights (`models/calibration.json`), and applied
unchanged. Temperature scaling divides the logits by one number, so the ranking of two classes never changes.
A conformal set holds every class that cannot be excluded. A set of no class or of several classes means
"uncertain".

MAPIE's `SplitConformalClassifier` (conformity score "lac") fitted on the images of one class alone gives the
same threshold for that class; the tests compare both. It is not used here, because it keeps scores in an
estimator, not thresholds that can be written to a file, and because it counts images, not patients.

References: Guo et al., On calibration of modern neural networks, ICML 2017; Sadinle, Lei and Wasserman, Least
ambiguous set-valued classifiers with bounded error levels, J Am Stat Assoc 2019;114:223-234; Vovk,
Conditional validity of inductive conformal predictors, Machine Learning 2013;92:349-376; Lee, Barber and
Willett, Distribution-free inference with hierarchical data, arXiv:2306.06342 (several images of one patient).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from covid_monai.core.number_format import format_percent
from covid_monai.evaluation.decisions.json_record import JsonRecord
from covid_monai.evaluation.metrics.prediction_table import Floats

TEMPERATURE_LIMITS = (0.05, 20.0)
# A probability of 0 has no logarithm and usually comes from rounding. It must not dominate the fit.
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Calibration(JsonRecord):
    """One temperature, one conformal threshold per class, and the data on which they were fitted.

    Args:
        class_names: K names, in the order of the probabilities.
        temperature: Divisor of the logits; above 1 the network was overconfident.
        conformal: Class name to the smallest calibrated probability with which the class is in the set;
            0 where there were too few patients, so that the class is in every set.
        coverage: Share of the images of each class whose set is to hold that class, between 0 and 1.
        chosen_on: Description of the data: `split`, `n` (images), `patients`, `cases` (class name to
            patients), `datalist_digest`.
        notes: Warnings for the reader, for example that a class has too few patients.

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
                "The temperature must be positive and the coverage between 0 and 1; found "
                f"{self.temperature} and {self.coverage}."
            )
        if not all(0 <= threshold <= 1 for threshold in self.conformal.values()):
            raise ValueError(f"Conformal thresholds must lie in [0, 1]; found {self.conformal}.")

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Calibrate probabilities, as if the logits had been divided by the temperature.

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
        return _at_temperature(self._checked(probabilities), self.temperature)

    def undo(self, calibrated: ArrayLike) -> Floats:
        """Return the network's own softmax: the inverse of `apply`, up to the rounding of its input."""
        return _at_temperature(self._checked(calibrated), 1 / self.temperature)

    def prediction_sets(self, calibrated: ArrayLike) -> NDArray[np.bool_]:
        """Return which classes cannot be excluded.

        Args:
            calibrated: Shape [N, K], the result of `apply` (not the network's own softmax).

        Returns:
            Shape [N, K]. A row with exactly one True names a class; every other row is "uncertain".

        Raises:
            ValueError: If the number of columns is not the number of classes.
        """
        thresholds = np.array([self.conformal[name] for name in self.class_names])
        return self._checked(calibrated) >= thresholds

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
    """Fit temperature and conformal thresholds on validation data.

    Args:
        labels: Shape [N], true class indices.
        probabilities: Shape [N, K], the network's own softmax.
        patients: Shape [N], patient of each image; images of one patient count as one.
        class_names: K names.
        coverage: Share of the images of each class whose set is to hold that class.
        chosen_on: Description of the data (`split`, `datalist_digest`); `n`, `patients`, `cases` are added.

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
    temperature = _fit_temperature(truth, scores, len(np.unique(who)))
    calibrated = _at_temperature(scores, temperature)
    own = {name: truth == k for k, name in enumerate(names)}
    thresholds = {
        name: conformal_threshold(calibrated[own[name], k], who[own[name]], coverage)
        for k, name in enumerate(names)
    }
    cases = {name: len(np.unique(who[rows])) for name, rows in own.items()}
    data = {**(chosen_on or {}), "n": len(truth), "patients": len(np.unique(who)), "cases": cases}
    notes = (*_temperature_notes(truth, scores, temperature), *_conformal_notes(cases, coverage))
    return Calibration(names, temperature, thresholds, coverage, data, notes)


def conformal_threshold(true_class_probabilities: Floats, patients: NDArray[Any], coverage: float) -> float:
    """Return the smallest probability with which a class is in the set.

    It is the quantile of the probabilities of the class's own images, corrected for one more patient (n + 1).

    Args:
        true_class_probabilities: Shape [N], probability of the true class, for images of one class.
        patients: Shape [N]; each patient has the same weight, whatever the number of images.
        coverage: Share of such images that are to lie at or above the threshold.

    Returns:
        From 0 to 1; 0 where there are too few patients to guarantee the coverage.

    >>> round(conformal_threshold(np.linspace(0.5, 1, 19), np.arange(19), 0.9), 3)
    0.528
    """
    names, inverse, images = np.unique(patients, return_inverse=True, return_counts=True)
    order = np.argsort(-true_class_probabilities, kind="stable")
    reached = np.cumsum((1 / images[inverse] / (len(names) + 1))[order])
    enough = np.flatnonzero(reached >= coverage - 1e-9)  # sums of fractions miss a limit by rounding
    return float(true_class_probabilities[order[enough[0]]]) if len(enough) else 0.0


def _conformal_notes(cases: Mapping[str, int], coverage: float) -> list[str]:
    """Return a sentence for each class that has too few validation patients to guarantee the coverage."""
    needed = int(np.ceil(coverage / (1 - coverage) - 1e-9))
    return [
        f"{name} has {n} validation patients. A coverage of {format_percent(coverage, 0)} needs at least "
        f"{needed}, so {name} is in every set."
        for name, n in cases.items()
        if n < needed
    ]


def _at_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Return probabilities [N, K] as if their logits had been divided by `temperature`."""
    logits = np.log(np.maximum(probabilities, _SMALLEST))
    return np.asarray(softmax(logits / temperature, axis=1))


def _fit_temperature(labels: NDArray[np.int64], probabilities: Floats, n_patients: int) -> float:
    """Return the temperature of the lowest cross-entropy, within `TEMPERATURE_LIMITS`.

    The targets assume half a wrongly classified patient in addition to the data (Krichevsky and Trofimov
    1981; Platt 1999 does the same with one). Otherwise validation images without any error would give a
    temperature of 0, that is, certainty. For the same reason scikit-learn's `CalibratedClassifierCV(method=
    "temperature")` and netcal's `TemperatureScaling` are not used: they take hard labels only. The tests
    show that theirs and this one agree where there are many images.
    """
    wrong = 0.5 / (n_patients + 1)
    targets = np.full(probabilities.shape, wrong / (probabilities.shape[1] - 1))
    targets[np.arange(len(labels)), labels] = 1 - wrong
    logits = np.log(np.maximum(probabilities, _SMALLEST))

    def cross_entropy(log_temperature: float) -> float:
        return -float((targets * log_softmax(logits / np.exp(log_temperature), axis=1)).sum())

    found = minimize_scalar(cross_entropy, bounds=np.log(TEMPERATURE_LIMITS), method="bounded")
    return float(np.exp(found.x))


def _temperature_notes(labels: NDArray[np.int64], probabilities: Floats, temperature: float) -> list[str]:
    """Return a sentence if the temperature was not determined by the data."""
    low, high = TEMPERATURE_LIMITS
    if not low * 1.01 < temperature < high / 1.01:
        return [
            f"The temperature could not be fitted: the best value lies outside {low:g} to {high:g}. "
            f"{temperature:.3g} is used instead, and the probabilities are not calibrated."
        ]
    if np.array_equal(probabilities.argmax(axis=1), labels):
        return [
            "Every validation image was classified correctly. The temperature therefore rests on the "
            "assumption of half a wrongly classified patient, not on errors in the data."
        ]
    return []
