"""The evaluation that lies in a bundle: its figures, the checks for shortcuts, ROC curves, the report."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from covid_monai.app.operating_points import Figure, OperatingPointChoice
from covid_monai.app.session import ServedModel
from covid_monai.bundle import Bundle
from covid_monai.core.errors import first_line

logger = logging.getLogger(__name__)

FOLDER = "evaluation"  # `covid-monai evaluate --output BUNDLE/evaluation` writes here
CLASS_FIGURES = ("auroc", "sensitivity", "specificity")
# The report may come from anybody: it may show itself, and fetch nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


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
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
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
