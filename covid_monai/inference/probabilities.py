"""From logits to the probabilities that are shown."""

import numpy as np
from numpy.typing import NDArray

from covid_monai.evaluation.decisions.calibration import Calibration


def to_probabilities(logits: NDArray[np.float32], calibration: Calibration | None) -> NDArray[np.float64]:
    """Softmax in double precision, then the bundle's calibration.

    Args:
        logits: Shape [N, K].
        calibration: None leaves the network's own probabilities.

    >>> to_probabilities(np.zeros((1, 2), np.float32), None)
    array([[0.5, 0.5]])
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities if calibration is None else calibration.apply(probabilities)
