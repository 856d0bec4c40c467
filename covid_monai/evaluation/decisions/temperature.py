"""The temperature of `Calibration`: one divisor of the logits, fitted on validation data.

References: Guo et al., On calibration of modern neural networks, ICML 2017; Krichevsky and Trofimov, The
performance of universal encoding, IEEE Trans Inf Theory 1981;27:199-207.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from covid_monai.evaluation.decisions.validation_weights import balanced_weights, effective_of_weights
from covid_monai.evaluation.metrics.prediction_table import Floats

TEMPERATURE_LIMITS = (0.05, 20.0)
# A probability of 0 has no logarithm and usually comes from rounding. It must not dominate the fit.
_SMALLEST = 1e-12


def at_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Return probabilities [N, K] as if their logits had been divided by `temperature`."""
    return np.asarray(softmax(_logits(probabilities) / temperature, axis=1))


def fit_temperature(
    labels: NDArray[np.int64], probabilities: Floats, patients: ArrayLike, sources: ArrayLike | None = None
) -> tuple[float, list[str]]:
    """Return the temperature of the lowest cross-entropy, and sentences about what it rests on.

    Images weigh as in `balanced_weights`. A temperature below 1 makes the network more certain than it was
    trained to be. It is taken only if it lowers the mean loss on sources that were left out of the fit, so
    with one source the temperature is at least 1.

    Args:
        labels: Shape [N], true class indices.
        probabilities: Shape [N, K], the network's own softmax.
        patients: Shape [N], patient of each image.
        sources: Shape [N], source of each image; None: one source.

    Returns:
        The temperature, within `TEMPERATURE_LIMITS`, and notes for the reader.
    """
    who = np.asarray(patients)
    where = np.zeros(len(labels)) if sources is None else np.asarray(sources)
    fitted = _lowest_loss(labels, probabilities, who, where)
    notes = []
    if fitted < 1 and not _sharpening_helps(labels, probabilities, who, where):
        notes.append(
            f"The temperature of the lowest loss is {fitted:.3g}. A value below 1 does not lower the loss on "
            "sources left out of the fit, so the temperature is 1."
        )
        return 1.0, notes
    low, high = TEMPERATURE_LIMITS
    if not low * 1.01 < fitted < high / 1.01:
        notes.append(
            f"The temperature could not be fitted: the best value lies outside {low:g} to {high:g}. "
            f"{fitted:.3g} is used instead, and the probabilities are not calibrated."
        )
    elif np.array_equal(probabilities.argmax(axis=1), labels):
        notes.append(
            "Every validation image was classified correctly. The temperature therefore rests on the "
            "assumption of half a wrongly classified patient, not on errors in the data."
        )
    return fitted, notes


def _sharpening_helps(
    labels: NDArray[np.int64], probabilities: Floats, patients: NDArray, sources: NDArray
) -> bool:
    """Return whether a temperature below 1, fitted without a source, lowers the mean loss on that source."""
    changes = []
    for source in np.unique(sources):
        out = sources == source
        if out.all():
            return False
        others = (each[~out] for each in (labels, probabilities, patients, sources))
        temperature = min(1.0, _lowest_loss(*others))
        weights = balanced_weights(labels[out], patients[out])
        targets = np.eye(probabilities.shape[1])[labels[out]]
        loss = [_cross_entropy(targets, probabilities[out], weights, t) for t in (temperature, 1.0)]
        changes.append(loss[0] - loss[1])
    return float(np.mean(changes)) < 0


def _lowest_loss(
    labels: NDArray[np.int64], probabilities: Floats, patients: NDArray, sources: NDArray
) -> float:
    """Return the temperature of the lowest cross-entropy.

    The targets assume half a wrongly classified patient in addition to the data (Krichevsky and Trofimov
    1981; Platt 1999 does the same with one). Otherwise validation images without any error would give a
    temperature of 0, that is, certainty. For the same reason scikit-learn's `CalibratedClassifierCV(method=
    "temperature")` and netcal's `TemperatureScaling` are not used: they take hard labels only. The tests
    show that theirs and this one agree where there are many images.
    """
    weights = balanced_weights(labels, patients, sources)
    wrong = 0.5 / (effective_of_weights(weights, patients) + 1)
    targets = np.full(probabilities.shape, wrong / (probabilities.shape[1] - 1))
    targets[np.arange(len(labels)), labels] = 1 - wrong
    found = minimize_scalar(
        lambda log_temperature: _cross_entropy(targets, probabilities, weights, np.exp(log_temperature)),
        bounds=np.log(TEMPERATURE_LIMITS),
        method="bounded",
    )
    return float(np.exp(found.x))


def _cross_entropy(targets: Floats, probabilities: Floats, weights: Floats, temperature: float) -> float:
    losses = -(targets * log_softmax(_logits(probabilities) / temperature, axis=1)).sum(axis=1)
    return float(weights @ losses)


def _logits(probabilities: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(probabilities, _SMALLEST)))
