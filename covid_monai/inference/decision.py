"""Probabilities from logits, and from them one class, or "uncertain" with its reason."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, decide
from covid_monai.inference.prediction import UNCERTAIN


def compute_probabilities(
    logits: NDArray[np.float32], calibration: Calibration | None
) -> NDArray[np.float64]:
    """Apply softmax in double precision to logits [N, K], then the calibration of the bundle, if it has one.

    >>> compute_probabilities(np.zeros((1, 2), np.float32), None)
    array([[0.5, 0.5]])
    """
    probabilities: NDArray[np.float64] = softmax(logits.astype(np.float64), axis=1)
    return probabilities if calibration is None else calibration.apply(probabilities)


def find_prediction_set(probabilities: NDArray[np.float64], calibration: Calibration) -> list[str]:
    """Return the classes that cannot be excluded, in class order, for calibrated probabilities [K]."""
    (members,) = calibration.prediction_sets(probabilities[None])
    return [name for name, member in zip(calibration.class_names, members, strict=True) if member]


def make_decision(
    probabilities: NDArray[np.float64], operating_point: OperatingPoint, possible: list[str] | None
) -> dict[str, Any]:
    """Decide the class at the operating point, or "uncertain" if the prediction set is not that class alone.

    `probabilities` [K] are calibrated. `possible` is the prediction set; None if the bundle stores no
    calibration: then nothing is uncertain. The result is the `decision` of a `Prediction`.
    """
    (index,) = decide(probabilities[None], operating_point)
    chosen = operating_point.class_names[int(index)]
    reason = None if possible is None or possible == [chosen] else _reason(possible, chosen)
    return {
        "class": chosen if reason is None else UNCERTAIN,
        "reason": reason,
        "at_operating_point": chosen,
        "rule": operating_point.rule,
        "thresholds": dict(operating_point.thresholds),
    }


def _reason(possible: list[str], chosen: str) -> str:
    if not possible:
        return "The image fits no class: each class is less probable than on nearly all images of that class."
    if len(possible) == 1:
        return f"Only {possible[0]} is likely, but the thresholds of the operating point decide {chosen}."
    quantifier = "both" if len(possible) == 2 else "all"
    return f"{', '.join(possible[:-1])} and {possible[-1]} are {quantifier} possible; none can be excluded."
