"""ROC curves as plain numbers: who has `metrics.json` can draw them without a row of a patient."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve


def roc_curves(
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    decisions: ArrayLike | None = None,
) -> dict[str, dict[str, Any]]:
    """One curve per class, against the rest; with two classes the second one's only.

    Args:
        labels: Shape [N], true class indices.
        probabilities: Shape [N, K].
        class_names: K names.
        decisions: Shape [N]; if given, each curve has the point of these decisions.

    Returns:
        Class name to `cases` and `others` (films), `fpr` and `tpr` (corners of the curve, from (0, 0) to
        (1, 1); empty without cases or without others), `point` (`[fpr, tpr]` of the decisions, else None).

    >>> curves = roc_curves([0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]], ["no", "yes"])
    >>> curves["yes"]["fpr"], curves["yes"]["tpr"]
    ([0.0, 0.0, 0.0, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    truth, scores = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    curves = {}
    for k in shown_classes(class_names):
        is_case = truth == k
        cases, others = int(is_case.sum()), int(np.sum(~is_case))
        curve: dict[str, Any] = {"cases": cases, "others": others, "fpr": [], "tpr": [], "point": None}
        if cases and others:
            fpr, tpr, _ = roc_curve(is_case, scores[:, k])
            curve |= {"fpr": fpr.tolist(), "tpr": tpr.tolist()}
            if decisions is not None:
                called = np.asarray(decisions) == k
                curve["point"] = [float(called[~is_case].mean()), float(called[is_case].mean())]
        curves[class_names[k]] = curve
    return curves


def shown_classes(class_names: Sequence[str]) -> Sequence[int]:
    """Every class against the rest; of two classes the second, since the first only mirrors it."""
    return range(len(class_names)) if len(class_names) > 2 else [1]
