"""Figures of a model that were measured before: `evaluation/metrics.json` in its bundle."""

import json
from dataclasses import dataclass
from typing import Any

from covid_monai.app.widgets.operating_points import Choice, Figure
from covid_monai.bundle import Bundle

FOLDER = "evaluation"  # where `covid-monai evaluate --output BUNDLE/evaluation` writes


@dataclass(frozen=True)
class Figures:
    """What an evaluation of a bundle's own weights found.

    Args:
        metrics: As `write_report` describes it.
    """

    metrics: dict[str, Any]

    @property
    def origin(self) -> str:
        """On what they were measured."""
        test = self.metrics["data"]["splits"]["test"]
        return f"{test['images']:,} test images of {test['patients']:,} patients"

    def rates(self, choice: Choice, class_name: str) -> dict[str, Figure] | None:
        """Sensitivity and specificity of a class at an operating point; None where they were not measured."""
        for point in self.metrics["operating_points"]:
            if point["class"] == choice.class_name and point["thresholds"] == choice.thresholds:
                rates = (point["test"] or {}).get(class_name)
                measured = rates and None not in (
                    rates["sensitivity"]["value"],
                    rates["specificity"]["value"],
                )
                return rates if measured else None
        return None

    def curve(self, class_name: str) -> list[tuple[float, float]]:
        """ROC from (0, 0) to (1, 1): 1 - specificity, sensitivity; empty where there is none."""
        roc = self.metrics.get("roc", {}).get(class_name)
        return list(zip(roc["one_minus_specificity"], roc["sensitivity"], strict=True)) if roc else []

    def auroc(self, class_name: str) -> Figure:
        """Area under it, with its interval."""
        figure: Figure = self.metrics["test"]["per_class"][class_name]["auroc"]
        return figure


def read_figures(bundle: Bundle) -> tuple[Figures | None, str]:
    """The figures of a bundle's weights, and a sentence that says what they are or why there are none."""
    path = bundle.root / FOLDER / "metrics.json"
    if not path.is_file():
        return None, (
            "This bundle carries no evaluation, so nothing is known here about how often it is right. "
            f"covid-monai evaluate --output BUNDLE/{FOLDER} puts one beside it."
        )
    metrics = json.loads(path.read_text(encoding="utf-8"))
    if metrics["model"].get("weights_sha256") != bundle.identity["weights_sha256"]:
        return None, "The evaluation in this bundle is of other weights, and is not shown."
    figures = Figures(metrics)
    return figures, f"Measured on {figures.origin}; intervals are 95 %."
