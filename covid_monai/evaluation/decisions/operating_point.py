"""Operating point: thresholds chosen on validation data and applied unchanged to other data.

The thresholds t_k are the mixture of classes at which the classifier is undecided: with K classes they sum
to 1, and the decision is the class with the largest log p_k - log t_k. If the training drew the classes in
the proportions q_k, a calibrated p_k is proportional to q_k times the likelihood of the image under class
k. With t_k = q_k the decision is therefore the class of the largest likelihood, that is, the most probable
class where all classes are equally frequent (Saerens, Latinne and Decaestecker, Neural Computation
2002;14:21-41; Menon et al., Long-tail learning via logit adjustment, ICLR 2021).

The network is not calibrated well enough to insert q_k. The thresholds are found one pair at a time: for each
class k and the reference class r (normal, or the first class), the cut c_k of the log odds
log p_k - log p_r that separates images of k from images of r with the largest Youden index. Then t_k is
proportional to exp(c_k), with c_r = 0. Patients and sources weigh as in `balanced_weights`, and the
Youden index weighs both classes the same, so the largest source, class or patient does not move a cut. One
threshold for each class against all others would not do this: as the others are more frequent, such
thresholds are lower for a rare class, and the ratio p_k / t_k then favours it.

Normal is never overruled while it is more probable: a cut against normal is at least 0.

Reference: Fluss, Faraggi, Reiser, Estimation of the Youden index and its associated cutoff point, Biometrical
Journal 2005;47:458-472; Youden, Index for rating diagnostic tests, Cancer 1950;3:32-35.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from covid_monai.core.vocabulary import NORMAL
from covid_monai.evaluation.decisions.json_record import JsonRecord
from covid_monai.evaluation.decisions.validation_weights import (
    balanced_weights,
    effective_patients,
    few_patients_note,
    too_few,
)
from covid_monai.evaluation.decisions.youden import sensitivity_threshold, youden_cut
from covid_monai.evaluation.metrics.prediction_table import Floats

_SMALLEST = 1e-6  # nearer to 0, probabilities are taken as this

YOUDEN_RULE = (
    "Each class has a cut of its log odds against normal (or against the first class), which has the largest "
    "smoothed Youden index (sensitivity + specificity - 1). The thresholds t_k are these cuts as shares. The "
    "decision is the class with the largest log p_k - log t_k, but normal while it is more probable."
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
            (class name to images), `effective_patients` (class name to their effective number); empty if
            the thresholds were not chosen on data.
        notes: Warnings for the reader, for example that a class has no validation cases.
        sensitivity_target: Sensitivity for which `sensitivity_thresholds` were chosen.
        sensitivity_thresholds: Class name to the threshold of `SENSITIVITY_RULE`, for use with `call`.
            Classes with too few validation patients are missing.

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
    patients: ArrayLike | None = None,
    sources: ArrayLike | None = None,
    chosen_on: Mapping[str, Any] | None = None,
    sensitivity_target: float = SENSITIVITY_TARGET,
) -> OperatingPoint:
    """Choose one threshold per class by Youden's index, and one by sensitivity, on validation data.

    Args:
        labels: Shape [N], true class indices.
        probabilities: Shape [N, K].
        class_names: K names.
        patients: Shape [N], patient of each image; None: each image is of another patient.
        sources: Shape [N], source of each image; None: one source.
        chosen_on: Description of the data (`split`, `patients`, `datalist_digest`); the counts are added.
        sensitivity_target: Sensitivity that the second threshold of a class is to reach.

    Returns:
        The operating point. A class that has too few patients, or is not separated from the reference at
        all, gets the neutral cut 0, and `notes` says so.

    Raises:
        ValueError: If there are no images.

    >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.1, 0.9]] * 20
    >>> point = choose_operating_point([0, 0, 1, 1] * 20, probabilities, ["no", "yes"])
    >>> {name: round(t, 1) for name, t in point.thresholds.items()}
    {'no': 0.7, 'yes': 0.3}
    """
    truth, scores = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if len(truth) == 0:
        raise ValueError("Thresholds cannot be chosen: there are no images.")
    names, n = list(class_names), len(truth)
    who = np.arange(n) if patients is None else np.asarray(patients)
    where = np.zeros(n) if sources is None else np.asarray(sources)
    effective = effective_patients(truth, who, names)
    few = too_few(effective)
    notes = [few_patients_note(name, effective[name], "No threshold was chosen for it.") for name in few]
    reference = names.index(NORMAL) if NORMAL in names else 0
    cuts = np.zeros(len(names))
    for k, name in enumerate(names):
        if k == reference or {name, names[reference]} & few.keys():
            continue
        pair = (truth == k) | (truth == reference)
        odds = log_odds(scores[pair], reference)[:, k]
        cut = youden_cut(truth[pair] == k, odds, who[pair], where[pair])
        if cut is None:
            notes.append(f"{name} is not separated from {names[reference]}, so the cut between them is 0.")
        else:
            cuts[k] = max(cut, 0.0) if names[reference] == NORMAL else cut
    weights = balanced_weights(truth, who, where)
    by_sensitivity = {
        name: sensitivity_threshold(truth == k, scores[:, k], sensitivity_target, weights)
        for k, name in enumerate(names)
        if name not in few and np.any(truth != k)
    }
    data = {
        "n": n,
        "cases": {name: int(np.sum(truth == k)) for k, name in enumerate(names)},
        "effective_patients": {name: round(number, 1) for name, number in effective.items()},
    }
    return OperatingPoint(
        YOUDEN_RULE,
        dict(zip(names, softmax(cuts).tolist(), strict=True)),
        {**(chosen_on or {}), **data},
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
        Shape [N], indices from 0 to K - 1. Ties go to the lower index, with two classes to the second. A
        class is never decided while normal is more probable.

    Raises:
        ValueError: If the number of columns is not the number of thresholds.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    thresholds = np.array(list(operating_point.thresholds.values()))
    if scores.ndim != 2 or scores.shape[1] != len(thresholds):
        raise ValueError(f"Probabilities of shape {scores.shape} do not fit {len(thresholds)} thresholds.")
    names, ratios = operating_point.class_names, scores / np.maximum(thresholds, np.finfo(float).tiny)
    if len(thresholds) == 2:  # the same rule, because p_0 = 1 - p_1, but without rounding
        ratios = np.column_stack([scores[:, 1] < thresholds[1], scores[:, 1] >= thresholds[1]]).astype(float)
    if NORMAL in names:  # files of older versions may have thresholds that would overrule it
        ratios = np.where(scores >= scores[:, [names.index(NORMAL)]], ratios, -1)
    return np.asarray(np.argmax(ratios, axis=1), dtype=np.int64)


def log_odds(probabilities: ArrayLike, reference: int) -> Floats:
    """Return log p_k - log p_r [N, K] of probabilities [N, K], with r the index of the reference class.

    >>> log_odds([[0.2, 0.4, 0.4]], 0).round(3)
    array([[0.   , 0.693, 0.693]])
    """
    logs = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), _SMALLEST))
    return np.asarray(logs - logs[:, [reference]])


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
