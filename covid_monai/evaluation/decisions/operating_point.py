"""Operating point: thresholds chosen on validation data and applied unchanged to other data.

Reference: Fluss, Faraggi, Reiser, Estimation of the Youden index and its associated cutoff point, Biometrical
Journal 2005;47:458-472; Youden, Index for rating diagnostic tests, Cancer 1950;3:32-35.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr

from covid_monai.evaluation.decisions.json_record import JsonRecord
from covid_monai.evaluation.metrics.prediction_table import Floats

_SMALLEST = 1e-6  # nearer to 0 or 1, probabilities are taken as this
_NARROWEST = 0.1  # width of a kernel, in log odds; equal scores have no spread of their own

YOUDEN_RULE = (
    "Each class k has the threshold t_k with the largest smoothed Youden index (sensitivity + specificity "
    "- 1), one class against the rest. The decision is the class with the largest p_k / t_k, where p_k is "
    "its probability. With two classes, it is the second class if its probability is at least its threshold."
)
ARGMAX_RULE = "The class with the largest probability; no threshold was chosen."
SENSITIVITY_RULE = (
    "One class against the rest: an image is positive if the probability of the class is at least its "
    "threshold, which is the largest with the target sensitivity on validation."
)
SENSITIVITY_TARGET = 0.95


@dataclass(frozen=True)
class OperatingPoint(JsonRecord):
    """Thresholds that turn probabilities into one decision, and the data on which they were chosen.

    Args:
        rule: Rule of the decision, in words.
        thresholds: Class name to threshold, in class order.
        chosen_on: Description of the data: `split`, `n` (images), `patients`, `datalist_digest`, `cases`
            (class name to images); empty if the thresholds were not chosen on data.
        notes: Warnings for the reader, for example that a class has no validation cases.
        sensitivity_target: Sensitivity for which `sensitivity_thresholds` were chosen.
        sensitivity_thresholds: Class name to the threshold of `SENSITIVITY_RULE`, for use with `call`.
            Classes without validation cases are missing.

    Raises:
        ValueError: If there are fewer than two classes or a threshold is not a number from 0 to 1.
    """

    rule: str
    thresholds: dict[str, float]
    chosen_on: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sensitivity_target: float = SENSITIVITY_TARGET
    sensitivity_thresholds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = np.array(list(self.thresholds.values()), dtype=float)
        # A threshold of 0 is meaningful for two classes only: elsewhere p / t would divide by it.
        smallest = 0.0 if len(values) == 2 else np.finfo(float).tiny
        if len(values) < 2 or not np.all((values >= smallest) & (values <= 1)):
            raise ValueError(
                f"An operating point needs a threshold in (0, 1] per class; found {self.thresholds}."
            )
        wanted = [self.sensitivity_target, *self.sensitivity_thresholds.values()]
        if not set(self.sensitivity_thresholds) <= set(self.thresholds) or not all(
            0 <= value <= 1 for value in wanted
        ):
            raise ValueError(
                "Sensitivity thresholds belong to the classes and lie in [0, 1]; found "
                f"{self.sensitivity_thresholds} for a sensitivity of {self.sensitivity_target}."
            )

    @classmethod
    def argmax(cls, class_names: Sequence[str], *, notes: Sequence[str] = ()) -> "OperatingPoint":
        """Make the rule "most probable class", as equal thresholds, for a model without validation data."""
        return cls(ARGMAX_RULE, dict.fromkeys(class_names, 1 / len(class_names)), {}, tuple(notes))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return tuple(self.thresholds)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `json.dumps`; the class order is stored beside the mapping."""
        return {"rule": self.rule, "class_names": list(self.class_names), **super().to_json()}

    @classmethod
    def _from_values(cls, values: Mapping[str, Any]) -> Self:
        later = {"sensitivity_target": SENSITIVITY_TARGET, "sensitivity_thresholds": {}}  # not in older files
        in_class_order = {name: float(values["thresholds"][name]) for name in values["class_names"]}
        return super()._from_values({**later, **values, "thresholds": in_class_order})


def choose_operating_point(
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    *,
    chosen_on: Mapping[str, Any] | None = None,
    sensitivity_target: float = SENSITIVITY_TARGET,
) -> OperatingPoint:
    """Choose one threshold per class by Youden's index, and one by sensitivity, on validation data.

    Args:
        labels: Shape [N], true class indices.
        probabilities: Shape [N, K].
        class_names: K names.
        chosen_on: Description of the data (`split`, `patients`, `datalist_digest`); `n`, `cases` are added.
        sensitivity_target: Sensitivity that the second threshold of a class is to reach.

    Returns:
        The operating point. A class that is absent, alone, or not separated at all by its probability
        gets the neutral threshold 1 / K, and `notes` says so.

    Raises:
        ValueError: If there are no images.

    >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.1, 0.9]]
    >>> point = choose_operating_point([0, 0, 1, 1], probabilities, ["no", "yes"])
    >>> {name: round(t, 1) for name, t in point.thresholds.items()}
    {'no': 0.7, 'yes': 0.3}
    """
    truth, scores = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if len(truth) == 0:
        raise ValueError("Thresholds cannot be chosen: there are no images.")
    names, n_classes = list(class_names), len(class_names)
    chosen = {k: youden_threshold(truth == k, scores[:, k]) for k in range(n_classes)}
    if n_classes == 2:
        # One decision needs one threshold: that of the second class, usually the disease.
        chosen[0] = None if chosen[1] is None else 1 - chosen[1]
    notes = [
        f"No threshold could be chosen for {names[k]} (cases: {np.sum(truth == k)} of {len(truth)} images). "
        f"The neutral threshold 1/{n_classes} is used instead."
        for k, t in chosen.items()
        if t is None
    ]
    thresholds = {names[k]: 1 / n_classes if t is None else t for k, t in chosen.items()}
    cases = {name: int(np.sum(truth == k)) for k, name in enumerate(names)}
    by_sensitivity = {
        name: sensitivity_threshold(truth == k, scores[:, k], sensitivity_target)
        for k, name in enumerate(names)
        if 0 < cases[name] < len(truth)
    }
    return OperatingPoint(
        YOUDEN_RULE,
        thresholds,
        {**(chosen_on or {}), "n": len(truth), "cases": cases},
        tuple(notes),
        sensitivity_target,
        by_sensitivity,
    )


def decide(probabilities: ArrayLike, operating_point: OperatingPoint) -> NDArray[np.int64]:
    """Decide the class of each image at an operating point.

    Args:
        probabilities: Shape [N, K], columns in the order of `operating_point.class_names`.
        operating_point: Thresholds, used as they are.

    Returns:
        Shape [N], indices from 0 to K - 1. Ties go to the lower index, with two classes to the second.

    Raises:
        ValueError: If the number of columns is not the number of thresholds.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    thresholds = np.array(list(operating_point.thresholds.values()))
    if scores.ndim != 2 or scores.shape[1] != len(thresholds):
        raise ValueError(f"Probabilities of shape {scores.shape} do not fit {len(thresholds)} thresholds.")
    # With two classes the first rule is the same as the second, because p_0 = 1 - p_1, but without rounding.
    decisions = (
        scores[:, 1] >= thresholds[1] if len(thresholds) == 2 else np.argmax(scores / thresholds, axis=1)
    )
    return np.asarray(decisions, dtype=np.int64)


def call(probabilities: ArrayLike, operating_point: OperatingPoint, class_name: str) -> NDArray[np.bool_]:
    """Tell whether each image is positive for one class, at the threshold chosen for sensitivity.

    Args:
        probabilities: Shape [N, K], columns in the order of `operating_point.class_names`.
        operating_point: Operating point with a sensitivity threshold for the class.
        class_name: Name of the class.

    Returns:
        Shape [N]. One image may be positive for several classes, or for none.

    Raises:
        ValueError: If no threshold was chosen for the class.

    >>> point = OperatingPoint("", {"no": 0.5, "yes": 0.5}, sensitivity_thresholds={"yes": 0.1})
    >>> call([[0.8, 0.2]], point, "yes")
    array([ True])
    """
    threshold = operating_point.sensitivity_thresholds.get(class_name)
    if threshold is None:
        known = ", ".join(operating_point.sensitivity_thresholds) or "no class"
        raise ValueError(f"The operating point has sensitivity thresholds for {known}, not for {class_name}.")
    column = operating_point.class_names.index(class_name)
    return np.asarray(np.asarray(probabilities, dtype=np.float64)[:, column] >= threshold)


def youden_threshold(is_case: NDArray[np.bool_], scores: Floats) -> float | None:
    """Return the threshold (score >= t is positive) of the largest Youden index after Gaussian smoothing.

    Where the classes hardly overlap, the unsmoothed index is flat around its maximum, and a few images at the
    edge of each class determine the threshold. With kernels over the log odds, as wide as Scott's rule says,
    every image has an influence. None if a class is missing, or no threshold is better than none.
    """
    if is_case.all() or not is_case.any():
        return None
    fpr, tpr, _ = _roc_curve(is_case, scores)
    if np.max(tpr - fpr) <= 0:
        return None
    log_odds = logit(np.clip(scores, _SMALLEST, 1 - _SMALLEST))
    cuts = np.linspace(log_odds.min(), log_odds.max(), 1001)
    youden = _smooth_cdf(log_odds[~is_case], cuts) - _smooth_cdf(log_odds[is_case], cuts)
    # Between two classes that are far apart the index has a plateau; its middle is the safest threshold.
    plateau = np.flatnonzero(youden >= youden.max() - 1e-9)
    return float(expit(cuts[plateau].mean()))


def _roc_curve(is_case: NDArray[np.bool_], scores: Floats, **options: bool) -> tuple[Floats, Floats, Floats]:
    from sklearn.metrics import roc_curve  # takes half a second, which a prediction does not need

    found: tuple[Floats, Floats, Floats]
    found = roc_curve(is_case, scores, **options)
    return found


def _smooth_cdf(values: Floats, at: Floats) -> Floats:
    width = max(values.std(), _NARROWEST) * len(values) ** -0.2
    return np.asarray(ndtr((at[:, None] - values) / width).mean(axis=1))


def sensitivity_threshold(is_case: NDArray[np.bool_], scores: Floats, target: float) -> float:
    """Return the largest threshold (score >= t is positive) whose sensitivity is at least `target`.

    >>> round(sensitivity_threshold(np.array([False, True, True]), np.array([0.1, 0.4, 0.8]), 0.9), 3)
    0.25
    """
    _, tpr, cuts = _roc_curve(is_case, scores, drop_intermediate=False)
    # At least one case must be found; otherwise a target of 0 would select the infinite first cut.
    first = int(np.argmax(tpr >= max(target - 1e-12, 1e-12)))
    lower = cuts[first + 1] if first + 1 < len(cuts) else cuts[first]
    middle = (cuts[first] + lower) / 2
    # Between adjacent floats there is no middle; the upper one separates them.
    return float(middle if middle > lower else cuts[first])
