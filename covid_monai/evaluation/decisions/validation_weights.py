"""How much each validation image counts where a temperature, a threshold or a conformal set is fitted.

The images of a validation split are no random sample of one population: one patient has many of them, and one
collection has most of a class. If each image counted the same, a fit would describe the largest collection.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_monai.core.effective_number import effective_number
from covid_monai.evaluation.metrics.prediction_table import Floats

# Twenty patients are the fewest of whom one lies beyond a limit of 95 %, within the first decimal.
MIN_PATIENTS = 20.0


def balanced_weights(labels: ArrayLike, patients: ArrayLike, sources: ArrayLike | None = None) -> Floats:
    """Return the weight of each image; all of them sum to 1.

    Classes weigh the same. Within a class its sources weigh the same, within a source of the class its
    patients, and within a patient the images. A source with fewer than `MIN_PATIENTS` patients of the class
    weighs less in proportion: otherwise five patients could be a third of a class.

    Args:
        labels: Shape [N], class indices.
        patients: Shape [N], patient of each image.
        sources: Shape [N], source of each image; None takes all images as of one source.

    >>> balanced_weights([0, 0, 0, 1], ["a", "a", "b", "c"], ["s", "s", "s", "s"])
    array([0.125, 0.125, 0.25 , 0.5  ])
    """
    truth, who = _codes(labels), _codes(patients)
    where = np.zeros_like(truth) if sources is None else _codes(sources)
    cells, cell = np.unique(np.column_stack([truth, where]), axis=0, return_inverse=True)
    persons, person = np.unique(np.column_stack([cell.ravel(), who]), axis=0, return_inverse=True)
    n_patients, n_images = np.bincount(persons[:, 0]), np.bincount(person.ravel())[person.ravel()]
    share = np.minimum(1, n_patients / MIN_PATIENTS)
    share /= np.bincount(cells[:, 0], share)[cells[:, 0]] * len(np.unique(truth))
    return np.asarray((share / n_patients)[cell.ravel()] / n_images)


def effective_of_weights(weights: Floats, patients: ArrayLike) -> float:
    """Return Kish's effective number of patients with the summed weights of their images; 0 without images.

    >>> effective_of_weights(np.array([0.25, 0.25, 0.5]), ["a", "a", "b"])
    2.0
    """
    sums = np.bincount(_codes(patients), weights) if len(weights) else np.zeros(1)
    return float(sums.sum() ** 2 / (sums**2).sum()) if sums.any() else 0.0


def effective_patients(
    labels: ArrayLike, patients: ArrayLike, class_names: Sequence[str]
) -> dict[str, float]:
    """Return the effective number of patients of each class after Kish, by which a fit is allowed."""
    truth, who = np.asarray(labels), np.asarray(patients)
    return {name: effective_number(who[truth == k].tolist()) for k, name in enumerate(class_names)}


def too_few(effective: Mapping[str, float]) -> dict[str, float]:
    """Return the classes whose effective number of patients is below `MIN_PATIENTS`."""
    return {name: number for name, number in effective.items() if number < MIN_PATIENTS}


def few_patients_note(name: str, effective: float, consequence: str) -> str:
    """Return the sentence that says why nothing was fitted for a class, and what is used instead."""
    return (
        f"The validation images of {name} are worth {effective:.1f} patients (effective number), and "
        f"{MIN_PATIENTS:.0f} are needed. {consequence}"
    )


def weighted_quantile(values: Floats, weights: Floats, shares: Iterable[float]) -> Floats:
    """Return the smallest values up to which these shares of the weight lie (inverse of the distribution)."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    first = np.searchsorted(reached, np.asarray(list(shares)) - 1e-12)
    return np.asarray(values[order[np.minimum(first, len(values) - 1)]])


def _codes(values: ArrayLike) -> NDArray[np.int64]:
    return np.unique(np.asarray(values), return_inverse=True)[1].ravel()
