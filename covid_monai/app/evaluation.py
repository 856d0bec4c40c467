"""The operating points of a bundle, and the evaluation that lies in it: figures, shortcut checks, report."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from covid_monai.app.session import ServedModel
from covid_monai.bundle import Bundle
from covid_monai.core.errors import first_line
from covid_monai.core.number_format import format_percent
from covid_monai.evaluation.decisions.operating_point import SENSITIVITY_RULE, OperatingPoint, call
from covid_monai.inference.decision import make_decision
from covid_monai.inference.prediction import Prediction
from covid_monai.inference.wording import class_label

logger = logging.getLogger(__name__)

FOLDER = "evaluation"  # `covid-monai evaluate --output BUNDLE/evaluation` writes here
CLASS_FIGURES = ("auroc", "sensitivity", "specificity")
# The report may come from anybody: it may show itself, and fetch nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

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
            # A bundle without an operating point has decided nothing.
            return prediction.decision or make_decision(row, self.point, prediction.prediction_set)
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


class ShortcutCheck(NamedTuple):
    """One check for shortcuts: its result in one sentence, and whether it found one (None: cannot say)."""

    sentence: str
    shortcut: bool | None


@dataclass(frozen=True)
class StoredEvaluation:
    """An evaluation of a bundle on its test split."""

    about: str  # sentence about the data that the figures were measured on
    result: str  # headline in one sentence
    checks: tuple[ShortcutCheck, ...]
    limits: tuple[str, ...]  # that a reader must know, the most serious first
    per_class: Mapping[str, Mapping[str, Any]]  # class name to `support` and the `CLASS_FIGURES`
    rocs: Mapping[str, list[tuple[float, float]]]  # class name to points (1 - specificity, sensitivity)
    operating_points: list[Mapping[str, Any]]  # with their figures, as in `metrics.json`
    report: str | None  # page that cannot reach the network; None if there are only figures
    same_weights: bool  # whether the loaded weights are the evaluated ones

    def rates(self, choice: OperatingPointChoice, class_name: str) -> dict[str, Figure] | None:
        """Return sensitivity and specificity of a class at an operating point; None if not measured."""
        for point in self.operating_points:
            if point["class"] == choice.class_name and point["thresholds"] == choice.thresholds:
                rates: dict[str, Figure] | None = (point["test"] or {}).get(class_name)
                if rates and None not in (rates["sensitivity"]["value"], rates["specificity"]["value"]):
                    return rates
        return None


def read_evaluation(bundle: Bundle, weights_sha256: str) -> StoredEvaluation | None:
    """Read the evaluation in the bundle's folder `evaluation`; return None if none can be read."""
    folder = bundle.root / FOLDER
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        report = folder / "report.html"
        page = report.read_text(encoding="utf-8") if report.is_file() else None
        return _parse(metrics, page, weights_sha256)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logger.warning("%s has no evaluation that can be displayed: %s", folder, first_line(error))
        return None


def _parse(metrics: Mapping[str, Any], page: str | None, weights_sha256: str) -> StoredEvaluation:
    verdict, test = metrics["verdict"], metrics["data"]["splits"]["test"]
    images, patients = f"{test['images']:,} test images", f"{test['patients']:,} patients"
    tag = f'<!doctype html><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    return StoredEvaluation(
        about=f"Measured on {images} of {patients}; the intervals are 95 %.",
        result=str(verdict["result"]),
        checks=tuple(ShortcutCheck(str(each["sentence"]), each["shortcut"]) for each in verdict["shortcuts"]),
        limits=tuple(map(str, verdict["limits"])),
        per_class={
            str(name): {key: values[key] for key in ("support", *CLASS_FIGURES)}
            for name, values in metrics["test"]["per_class"].items()
        },
        rocs={
            str(name): list(zip(curve["one_minus_specificity"], curve["sensitivity"], strict=True))
            for name, curve in metrics.get("roc", {}).items()
        },
        operating_points=list(metrics["operating_points"]),
        report=page and tag + page,
        same_weights=metrics["model"].get("weights_sha256") == weights_sha256,
    )


@lru_cache(maxsize=8)
def evaluation_of(model: ServedModel) -> StoredEvaluation | None:
    """Return the evaluation in a model's bundle; see `read_evaluation`."""
    return read_evaluation(model.bundle, model.engine.classifier.model["weights_sha256"])


def why_no_figures(evaluation: StoredEvaluation | None) -> str | None:
    """Explain why a bundle has no figures of the loaded weights; return None if it has."""
    if evaluation is None:
        return (
            "This bundle has no evaluation, so it is not known how often the model is right. Run "
            f"covid-monai evaluate --output BUNDLE/{FOLDER} to add one."
        )
    if not evaluation.same_weights:
        return "The evaluation in this bundle is of other weights, so its figures are not shown."
    return None
