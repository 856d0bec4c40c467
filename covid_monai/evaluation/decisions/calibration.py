"""Calibrated probabilities, and sets of the classes that cannot be excluded.

Both are fitted on validation data only, stored beside the weights (`models/calibration.json`), and applied
unchanged. Temperature scaling divides the logits by one number, so the ranking of two classes never changes.
A conformal set holds every class that cannot be excluded. A set of no class or of several classes means
"uncertain". A class that is more probable than all others together is never excluded. Patients and sources
weigh as in `balanced_weights`.

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
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_monai.core.number_format import format_percent
from covid_monai.core.vocabulary import NORMAL
from covid_monai.evaluation.decisions.json_record import JsonRecord
from covid_monai.evaluation.decisions.temperature import at_temperature, fit_temperature
from covid_monai.evaluation.decisions.validation_weights import (
    balanced_weights,
    effective_of_weights,
    effective_patients,
    few_patients_note,
    too_few,
)
from covid_monai.evaluation.metrics.prediction_table import Floats

_NEVER_EXCLUDED = 0.5  # a class with this probability is at least as probable as all others together


@dataclass(frozen=True)
class Calibration(JsonRecord):
    """One temperature, one conformal threshold per class, and the data on which they were fitted.

    Where nothing could be fitted, the temperature is 1 and a class is in every set.

    Args:
        class_names: K names, in the order of the probabilities.
        temperature: Divisor of the logits; above 1 the network was overconfident.
        conformal: Class name to the smallest calibrated probability with which the class is in the set;
            0 where there were too few patients, so that the class is in every set.
        coverage: Share of the images of each class whose set is to hold that class, between 0 and 1.
        chosen_on: Description of the data: `split`, `n` (images), `patients`, `cases` (class name to
            patients), `effective_patients` (class name to their effective number), `datalist_digest`.
        notes: Warnings for the reader, for example that a class has too few patients.
        normal_coverage: The same share for images of the class `normal`; None where it is `coverage`.

    Raises:
        ValueError: If a value is out of its range, or the classes do not fit.
    """

    class_names: tuple[str, ...]
    temperature: float
    conformal: dict[str, float]
    coverage: float
    chosen_on: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    normal_coverage: float | None = None

    def __post_init__(self) -> None:
        if len(self.class_names) < 2 or set(self.class_names) != set(self.conformal):
            raise ValueError(
                f"A calibration needs one conformal threshold per class; found {self.conformal} for "
                f"{', '.join(self.class_names) or 'no class'}."
            )
        shares = {self.coverage, self.coverage if self.normal_coverage is None else self.normal_coverage}
        if not (0 < self.temperature < np.inf and all(0 < share < 1 for share in shares)):
            raise ValueError(
                "The temperature must be positive and the coverage between 0 and 1; found "
                f"{self.temperature} and {', '.join(map(str, shares))}."
            )
        if not all(0 <= threshold <= 1 for threshold in self.conformal.values()):
            raise ValueError(f"Conformal thresholds must lie in [0, 1]; found {self.conformal}.")

    @property
    def coverages(self) -> dict[str, float]:
        """Class name to the share of its images whose set is to hold it."""
        of_normal = self.coverage if self.normal_coverage is None else self.normal_coverage
        return {name: of_normal if name == NORMAL else self.coverage for name in self.class_names}

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
        return at_temperature(self._checked(probabilities), self.temperature)

    def undo(self, calibrated: ArrayLike) -> Floats:
        """Return the network's own softmax: the inverse of `apply`, up to the rounding of its input."""
        return at_temperature(self._checked(calibrated), 1 / self.temperature)

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

    @classmethod
    def _from_values(cls, values: Mapping[str, Any]) -> Self:
        return super()._from_values({"normal_coverage": None, **values})  # not in older files

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
    sources: ArrayLike | None = None,
    coverage: float = 0.9,
    normal_coverage: float = 0.95,
    chosen_on: Mapping[str, Any] | None = None,
    fallback: Calibration | None = None,
) -> Calibration:
    """Fit temperature and conformal thresholds on validation data.

    Args:
        labels: Shape [N], true class indices.
        probabilities: Shape [N, K], the network's own softmax.
        patients: Shape [N], patient of each image; images of one patient count as one.
        class_names: K names.
        sources: Shape [N], source of each image; within a class they count equally. None: one source.
        coverage: Share of the images of each class whose set is to hold that class.
        normal_coverage: The same for the class `normal`: a call of a disease excludes it.
        chosen_on: Description of the data (`split`, `datalist_digest`); the counts are added.
        fallback: Calibration whose values stay where there are too few patients; None: neutral values.

    Returns:
        The calibration. A class whose effective number of patients is below `MIN_PATIENTS`, or too low for
        its coverage, is in every set. If there is such a class, the temperature is 1. `notes` says so, and
        names a temperature that the data did not determine.

    Raises:
        ValueError: If there are no images or the shapes do not fit.

    >>> probabilities = [[0.99, 0.01], [0.98, 0.02], [0.97, 0.03], [0.01, 0.99]] * 20
    >>> fit_calibration([0, 1, 0, 1] * 20, probabilities, range(80), ["no", "yes"]).temperature > 1
    True
    """
    truth, scores = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    names, who = tuple(class_names), np.asarray(patients)
    if len(truth) == 0 or scores.shape != (len(truth), len(names)) or who.shape != truth.shape:
        raise ValueError(
            f"A calibration of {len(names)} classes cannot be fitted on {len(truth)} labels, probabilities "
            f"of shape {scores.shape} and patients of shape {who.shape}."
        )
    effective = effective_patients(truth, who, names)
    few = too_few(effective)
    notes = [few_patients_note(name, effective[name], "No temperature was fitted.") for name in few]
    neutral = 1.0 if fallback is None else fallback.temperature
    temperature, more = (neutral, notes) if few else fit_temperature(truth, scores, who, sources)
    calibrated, weights = at_temperature(scores, temperature), balanced_weights(truth, who, sources)
    shares = {name: normal_coverage if name == NORMAL else coverage for name in names}
    thresholds, notes = {}, list(more)
    for k, name in enumerate(names):
        own = truth == k
        found = conformal_threshold(calibrated[own, k], who[own], shares[name], weights[own])
        thresholds[name] = 0.0 if name in few else min(found, _NEVER_EXCLUDED)
        if name in few and fallback is not None:
            thresholds[name] = fallback.conformal[name]
        elif thresholds[name] == 0:
            wanted = format_percent(shares[name], 0)
            consequence = f"Its coverage of {wanted} cannot be guaranteed, so {name} is in every set."
            notes.append(few_patients_note(name, effective[name], consequence))
    data = {
        **(chosen_on or {}),
        "n": len(truth),
        "patients": len(np.unique(who)),
        "cases": {name: len(np.unique(who[truth == k])) for k, name in enumerate(names)},
        "effective_patients": {name: round(number, 1) for name, number in effective.items()},
    }
    of_normal = shares.get(NORMAL)
    return Calibration(names, temperature, thresholds, coverage, data, tuple(notes), of_normal)


def conformal_threshold(
    true_class_probabilities: Floats,
    patients: NDArray[Any],
    coverage: float,
    weights: Floats | None = None,
) -> float:
    """Return the smallest probability with which a class is in the set.

    It is the quantile of the probabilities of the class's own images, corrected for one more patient: with
    the effective number n of patients, the images together weigh n / (n + 1).

    Args:
        true_class_probabilities: Shape [N], probability of the true class, for images of one class.
        patients: Shape [N], patient of each image.
        coverage: Share of such images that are to lie at or above the threshold.
        weights: Shape [N], weight of each image; None gives each patient the same weight.

    Returns:
        From 0 to 1; 0 where there are too few patients to guarantee the coverage.

    >>> round(conformal_threshold(np.linspace(0.5, 1, 19), np.arange(19), 0.9), 3)
    0.528
    """
    if len(true_class_probabilities) == 0:
        return 0.0
    if weights is None:
        weights = balanced_weights(np.zeros(len(patients)), patients)
    n_patients = effective_of_weights(weights, patients)
    order = np.argsort(-true_class_probabilities, kind="stable")
    reached = np.cumsum((weights / weights.sum() * n_patients / (n_patients + 1))[order])
    enough = np.flatnonzero(reached >= coverage - 1e-9)  # sums of fractions miss a limit by rounding
    return float(true_class_probabilities[order[enough[0]]]) if len(enough) else 0.0
