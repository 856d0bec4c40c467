"""The operating points that a bundle offers, and what each says of an image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from covid_monai.app.widgets.status import label
from covid_monai.core.number_format import format_percent
from covid_monai.evaluation.decisions.operating_point import SENSITIVITY_RULE, OperatingPoint, call
from covid_monai.evaluation.metrics.clinical_utility import predictive_values
from covid_monai.inference.decision import make_decision
from covid_monai.inference.prediction import Prediction

Figure = Mapping[str, float | None]


@dataclass(frozen=True)
class Choice:
    """One operating point.

    Args:
        title: A few words.
        point: The bundle's.
        class_name: The class that it looks for at a sensitivity; None decides between all classes.
    """

    title: str
    point: OperatingPoint
    class_name: str | None

    @property
    def rule(self) -> str:
        """The rule in words."""
        return self.point.rule if self.class_name is None else SENSITIVITY_RULE

    @property
    def thresholds(self) -> dict[str, float]:
        """Class name to threshold, of the classes that it speaks of."""
        if self.class_name is None:
            return self.point.thresholds
        return {self.class_name: self.point.sensitivity_thresholds[self.class_name]}

    def decide(self, prediction: Prediction) -> dict[str, Any]:
        """As `Prediction.decision`; for one class `class` is that class, or None where it is not called."""
        row = np.array(list((prediction.probabilities or {}).values()))
        if self.class_name is None:
            return make_decision(row, self.point, prediction.prediction_set)
        called = bool(call(row[None], self.point, self.class_name)[0])
        return {"class": self.class_name if called else None, "reason": None}


def choices(point: OperatingPoint | None, class_names: tuple[str, ...]) -> list[Choice]:
    """What can be chosen, the bundle's own rule first; the most probable class where it has none."""
    if point is None:
        return [Choice("Most probable class", OperatingPoint.argmax(class_names), None)]
    wanted = format_percent(point.sensitivity_target, 0)
    return [
        Choice("The model's own thresholds", point, None),
        *(
            Choice(f"Find {wanted} of {label(name)}", point, name)
            for name in reversed(point.sensitivity_thresholds)
        ),
    ]


@dataclass(frozen=True)
class Thousand:
    """What a test means among 1,000 images; whole numbers that add up.

    Args:
        ill: Images of the class.
        found: Of these, called so.
        wrongly_called: Others that are called so.
    """

    ill: int
    found: int
    wrongly_called: int

    @property
    def missed(self) -> int:
        """Images of the class that are not called."""
        return self.ill - self.found

    @property
    def spared(self) -> int:
        """Others that are not called."""
        return 1000 - self.ill - self.wrongly_called


def of_thousand(sensitivity: float, specificity: float, prevalence: float) -> Thousand:
    """Count 1,000 images.

    >>> of_thousand(0.9, 0.8, 0.05)
    Thousand(ill=50, found=45, wrongly_called=190)
    """
    ill = round(1000 * prevalence)
    return Thousand(ill, round(ill * sensitivity), round((1000 - ill) * (1 - specificity)))


def values_at(rates: Mapping[str, Figure], prevalence: float) -> dict[str, Any]:
    """PPV and NPV with their intervals, as `predictive_values`."""
    return predictive_values(rates["sensitivity"], rates["specificity"], [prevalence])[0]
