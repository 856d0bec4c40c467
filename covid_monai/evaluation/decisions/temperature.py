"""One number that divides the logits, so that the probabilities come out as often as they say.

Reference: Guo et al., On calibration of modern neural networks, ICML 2017.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from covid_monai.evaluation.metrics.weighted import Floats

TEMPERATURE_LIMITS = (0.05, 20.0)
# A probability of 0 has no logarithm, and usually comes from rounding: it must not rule the fit alone.
_SMALLEST = 1e-12


def at_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities [N, K] as if their logits had been divided by `temperature`."""
    logits = np.log(np.maximum(probabilities, _SMALLEST))
    calibrated: Floats = softmax(logits / temperature, axis=1)
    return calibrated


def fit_temperature(labels: NDArray[np.int64], probabilities: Floats, n_patients: int) -> float:
    """Temperature of the least cross-entropy, within `TEMPERATURE_LIMITS`.

    The targets are those of one half wrong patient more than there are (Krichevsky and Trofimov 1981; Platt
    1999 does the same with one). Without it, validation images that are all decided rightly would ask for a
    temperature of 0, that is for certainty. This is also why scikit-learn's `CalibratedClassifierCV(method=
    "temperature")` and netcal's `TemperatureScaling` are not used: they take hard labels only. The
    tests show that theirs and this one agree where there are many images.

    Args:
        labels: Shape [N].
        probabilities: Shape [N, K], the network's own softmax.
        n_patients: Patients behind the images.
    """
    wrong = 0.5 / (n_patients + 1)
    targets = np.full(probabilities.shape, wrong / (probabilities.shape[1] - 1))
    targets[np.arange(len(labels)), labels] = 1 - wrong
    logits = np.log(np.maximum(probabilities, _SMALLEST))

    def cross_entropy(log_temperature: float) -> float:
        return -float((targets * log_softmax(logits / np.exp(log_temperature), axis=1)).sum())

    found = minimize_scalar(cross_entropy, bounds=np.log(TEMPERATURE_LIMITS), method="bounded")
    return float(np.exp(found.x))


def temperature_notes(labels: NDArray[np.int64], probabilities: Floats, temperature: float) -> list[str]:
    """What a reader must know of a fitted temperature: that it is none, or that no error was seen."""
    low, high = TEMPERATURE_LIMITS
    if not low * 1.01 < temperature < high / 1.01:
        return [
            f"The temperature could not be fitted: the best lies outside {low:g} to {high:g}, so "
            f"{temperature:.3g} stands in. The probabilities are not calibrated."
        ]
    if np.array_equal(probabilities.argmax(axis=1), labels):
        return [
            "Every validation image was decided rightly: the temperature rests on the assumption of half a "
            "wrong patient, not on errors that were seen."
        ]
    return []
