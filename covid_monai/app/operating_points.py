"""The operating points of a bundle: the decision at each of them, and what it means in 1,000 images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from covid_monai.core.number_format import format_percent
from covid_monai.evaluation.decisions.operating_point import SENSITIVITY_RULE, OperatingPoint, call
from covid_monai.inference.decision import make_decision
from covid_monai.inference.prediction import Prediction
from covid_monai.results.wording import class_label

Figure = Mapping[str, float | None]


@dataclass(frozen=True)
class OperatingPointChoice:
    """An operating point that a visitor can choose."""

    title: str
    point: OperatingPoint
    class_name: str | None  # found at a given sensitivity; None decides between all classes

    @property
    def rule(self) -> str:
        """Rule in words."""
        return self.point.rule if self.class_name is None else SENSITIVITY_RULE

    @property
    def thresholds(self) -> dict[str, float]:
        """Class name to threshold, for the classes that it decides."""
        if self.class_name is None:
            return self.point.thresholds
        return {self.class_name: self.point.sensitivity_thresholds[self.class_name]}

    def decide(self, prediction: Prediction) -> dict[str, Any]:
        """Decide as `Prediction.decision`; for one class, `class` is that class or None."""
        row = np.array(list((prediction.probabilities or {}).values()))
        if self.class_name is None:
            return make_decision(row, self.point, prediction.prediction_set)
        called = bool(call(row[None], self.point, self.class_name)[0])
        return {"class": self.class_name if called else None, "reason": None}


def choices(point: OperatingPoint | None, class_names: tuple[str, ...]) -> list[OperatingPointChoice]:
    """Return the operating points to choose from, first the bundle's own, or the most probable class."""
    if point is None:
        return [OperatingPointChoice("Most probable class", OperatingPoint.argmax(class_names), None)]
    wanted = format_percent(point.sensitivity_target, 0)
    return [
        OperatingPointChoice("The model's own thresholds", point, None),
        *(
            OperatingPointChoice(f"Find {wanted} of {class_label(name)}", point, name)
            for name in reversed(point.sensitivity_thresholds)
        ),
    ]


class ThousandImages(NamedTuple):
    """Counts of correct and wrong decisions for a class in 1,000 images."""

    found: int  # images of the class that are called so
    missed: int  # images of the class that are not called so
    wrongly_called: int  # other images that are called so
    spared: int  # other images that are not called so


def count_thousand(sensitivity: float, specificity: float, prevalence: float) -> ThousandImages:
    """Count the decisions in 1,000 images.

    >>> count_thousand(0.9, 0.8, 0.05)
    ThousandImages(found=45, missed=5, wrongly_called=190, spared=760)
    """
    of_class = round(1000 * prevalence)
    found, wrong = round(of_class * sensitivity), round((1000 - of_class) * (1 - specificity))
    return ThousandImages(found, of_class - found, wrong, 1000 - of_class - wrong)
