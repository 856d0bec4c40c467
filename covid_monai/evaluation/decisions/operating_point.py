"""Thresholds chosen on validation and applied unchanged to other data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_monai.core.atomic_files import write_text_atomically
from covid_monai.evaluation.decisions.thresholds import sensitivity_threshold, youden_threshold

YOUDEN_RULE = (
    "Per class the threshold t_k with the largest smoothed Youden index (sensitivity + specificity - 1), one "
    "class against the rest; the decision is the class with the largest p_k / t_k. With two classes: the "
    "second class if its probability is at least its threshold."
)
ARGMAX_RULE = "The class with the largest probability; no threshold was chosen."
SENSITIVITY_RULE = (
    "One class against the rest: the image is called if the probability of the class is at least its "
    "threshold, the largest that reaches the wanted sensitivity on validation."
)
SENSITIVITY_TARGET = 0.95


@dataclass(frozen=True)
class OperatingPoint:
    """How probabilities become one decision, and on which data that was settled.

    Args:
        rule: The rule in words.
        thresholds: Class name to threshold, in class order.
        chosen_on: What the thresholds were chosen on: `split`, `n` (images), `patients`,
            `datalist_digest`, `cases` (class name to images); empty if they were not chosen on data.
        notes: What a reader must know, for example a class without validation cases.
        sensitivity_target: The sensitivity that `sensitivity_thresholds` were chosen for.
        sensitivity_thresholds: Class name to the threshold of `SENSITIVITY_RULE`, for use with `call`;
            classes without validation cases are absent, and all are in files of before 0.2.

    Raises:
        ValueError: If there are fewer than two classes or a threshold is no number from 0 to 1.
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
        """The most probable class, as equal thresholds: what remains without validation data."""
        return cls(ARGMAX_RULE, dict.fromkeys(class_names, 1 / len(class_names)), {}, tuple(notes))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return tuple(self.thresholds)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; the class order is kept apart from the mapping."""
        return {
            "rule": self.rule,
            "class_names": list(self.class_names),
            "thresholds": dict(self.thresholds),
            "chosen_on": dict(self.chosen_on),
            "notes": list(self.notes),
            "sensitivity_target": self.sensitivity_target,
            "sensitivity_thresholds": dict(self.sensitivity_thresholds),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "OperatingPoint":
        """Inverse of `to_json`.

        Raises:
            ValueError: If a value is missing or of the wrong kind.
        """
        try:
            thresholds = {str(name): float(values["thresholds"][name]) for name in values["class_names"]}
            chosen_on, notes = dict(values["chosen_on"]), tuple(map(str, values["notes"]))
            target = float(values.get("sensitivity_target", SENSITIVITY_TARGET))
            of_target = values.get("sensitivity_thresholds", {}).items()
            by_sensitivity = {str(name): float(threshold) for name, threshold in of_target}
            return cls(str(values["rule"]), thresholds, chosen_on, notes, target, by_sensitivity)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"Not an operating point: {type(error).__name__} {error}.") from error

    def save(self, path: Path) -> None:
        """Write as JSON, in one step."""
        write_text_atomically(Path(path), json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> "OperatingPoint":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: If the file is missing.
            ValueError: If it is not an operating point; the message names the file.
        """
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


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
        chosen_on: What the data are (`split`, `patients`, `datalist_digest`); `n` and `cases` are added.
        sensitivity_target: Sensitivity that the second threshold of a class is to reach.

    Returns:
        The operating point. A class that is absent, alone, or not separated at all by its probability
        gets the neutral threshold 1 / K, and `notes` says so.

    References: Youden, Index for rating diagnostic tests, Cancer 1950;3:32-35; `youden_threshold`.

    >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.1, 0.9]]
    >>> point = choose_operating_point([0, 0, 1, 1], probabilities, ["no", "yes"])
    >>> {name: round(t, 1) for name, t in point.thresholds.items()}
    {'no': 0.7, 'yes': 0.3}
    """
    truth, scores = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if len(truth) == 0:
        raise ValueError("Thresholds cannot be chosen on no images.")
    names, n_classes = list(class_names), len(class_names)
    chosen = {k: youden_threshold(truth == k, scores[:, k]) for k in range(n_classes)}
    if n_classes == 2:
        # One decision needs one threshold: that of the second class, usually the disease.
        chosen[0] = None if chosen[1] is None else 1 - chosen[1]
    notes = [
        f"No threshold could be chosen for {names[k]} (cases: {np.sum(truth == k)} of {len(truth)}): "
        f"the neutral 1/{n_classes} stands in."
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
    """Class index of each row of `probabilities` under an operating point.

    Args:
        probabilities: Shape [N, K], columns in the order of `operating_point.class_names`.
        operating_point: Its thresholds are used as they are.

    Returns:
        Shape [N], indices from 0 to K - 1. Ties go to the lower index, with two classes to the second.

    Raises:
        ValueError: If the number of columns is not the number of thresholds.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    thresholds = np.array(list(operating_point.thresholds.values()))
    if scores.ndim != 2 or scores.shape[1] != len(thresholds):
        raise ValueError(f"Probabilities of shape {scores.shape} do not fit {len(thresholds)} thresholds.")
    if len(thresholds) == 2:
        # The same rule as below where p_0 = 1 - p_1, without its rounding.
        return (scores[:, 1] >= thresholds[1]).astype(np.int64)
    return np.argmax(scores / thresholds, axis=1).astype(np.int64)


def call(probabilities: ArrayLike, operating_point: OperatingPoint, class_name: str) -> NDArray[np.bool_]:
    """Whether each image is called `class_name` at the threshold chosen for sensitivity.

    Args:
        probabilities: Shape [N, K], columns in the order of `operating_point.class_names`.
        operating_point: With a sensitivity threshold for the class.
        class_name: One of its classes.

    Returns:
        Shape [N]. One image may be called several classes, or none.

    Raises:
        ValueError: If no threshold was chosen for the class.

    >>> point = OperatingPoint("", {"no": 0.5, "yes": 0.5}, sensitivity_thresholds={"yes": 0.1})
    >>> call([[0.8, 0.2]], point, "yes")
    array([ True])
    """
    threshold = operating_point.sensitivity_thresholds.get(class_name)
    if threshold is None:
        known = ", ".join(operating_point.sensitivity_thresholds) or "no class"
        raise ValueError(f"The operating point has a sensitivity threshold for {known}, not {class_name}.")
    column = operating_point.class_names.index(class_name)
    called: NDArray[np.bool_] = np.asarray(probabilities, dtype=np.float64)[:, column] >= threshold
    return called
