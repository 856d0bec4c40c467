"""The evaluation that lies in a bundle: its figures, the checks for shortcuts, ROC curves, the report."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from html import escape
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
_SIDE, _LEFT, _TOP, _BOTTOM = 220, 40, 10, 38  # pixels of a ROC curve's square and of its margins


class ShortcutCheck(NamedTuple):
    """One check for shortcuts.

    Args:
        sentence: Result in one sentence.
        shortcut: Whether the check found a shortcut; None if it cannot say.
    """

    sentence: str
    shortcut: bool | None


@dataclass(frozen=True)
class StoredEvaluation:
    """An evaluation of a bundle on its test split.

    Args:
        about: Sentence about the data that the figures were measured on.
        result: Headline in one sentence.
        checks: Checks for shortcuts; empty if none was run.
        limits: Limits that a reader must know, the most serious first.
        per_class: Class name to `support` and to the figures (`value`, `low`, `high`) of `CLASS_FIGURES`.
        rocs: Class name to ROC curve, (1 - specificity, sensitivity) from (0, 0) to (1, 1).
        operating_points: Operating points with their figures, as in `metrics.json`.
        report: Page `report.html`, which cannot reach the network; None if there are only figures.
        same_weights: Whether the loaded weights are the evaluated ones.
    """

    about: str
    result: str
    checks: tuple[ShortcutCheck, ...]
    limits: tuple[str, ...]
    per_class: Mapping[str, Mapping[str, Any]]
    rocs: Mapping[str, list[tuple[float, float]]]
    operating_points: list[Mapping[str, Any]]
    report: str | None
    same_weights: bool

    def rates(self, choice: OperatingPointChoice, class_name: str) -> dict[str, Figure] | None:
        """Return sensitivity and specificity of a class at an operating point; None if not measured."""
        for point in self.operating_points:
            if point["class"] == choice.class_name and point["thresholds"] == choice.thresholds:
                rates: dict[str, Figure] | None = (point["test"] or {}).get(class_name)
                if rates and None not in (rates["sensitivity"]["value"], rates["specificity"]["value"]):
                    return rates
                return None
        return None


def read_evaluation(bundle: Bundle, weights_sha256: str) -> StoredEvaluation | None:
    """Read the evaluation in the bundle's folder `evaluation`; return None if none can be read.

    Args:
        bundle: Bundle.
        weights_sha256: SHA-256 of the loaded weights.
    """
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


def roc_svg(curve: list[tuple[float, float]], point: tuple[Figure, Figure] | None, *, title: str) -> str:
    """Draw a ROC curve with the operating point on it, as SVG in the colours of the page.

    Args:
        curve: (1 - specificity, sensitivity) from (0, 0) to (1, 1); empty draws the point alone.
        point: Sensitivity and specificity with their intervals; None draws the curve alone.
        title: Description for visitors who do not see the curve.
    """
    width, height = _LEFT + _SIDE + 12, _TOP + _SIDE + _BOTTOM
    parts = [f'<svg class="roc" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']
    parts.append(f'<rect class="roc-frame" x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}"/>')
    parts.append(f'<path class="roc-chance" d="{_path([(0, 0), (1, 1)])}"/>')
    if curve:
        parts.append(f'<path class="roc-curve" d="{_path(curve)}"/>')
    if point is not None:
        parts += _point(*point)
    for share in (0, 0.5, 1):
        x, y = _place(share, 0)
        parts.append(f'<text x="{x}" y="{y + 14}" text-anchor="middle">{share:g}</text>')
        x, y = _place(0, share)
        parts.append(f'<text x="{x - 5}" y="{y + 4}" text-anchor="end">{share:g}</text>')
    middle = _TOP + _SIDE / 2
    parts.append(
        f'<text x="{_LEFT + _SIDE / 2}" y="{height - 6}" text-anchor="middle">1 - specificity</text>'
    )
    parts.append(
        f'<text text-anchor="middle" transform="translate(12 {middle}) rotate(-90)">sensitivity</text>'
    )
    return "".join([*parts, "</svg>"])


def _place(x: float, y: float) -> tuple[float, float]:
    return round(_LEFT + x * _SIDE, 1), round(_TOP + (1 - y) * _SIDE, 1)


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x} {y}" for x, y in (_place(*point) for point in points))


def _point(sensitivity: Figure, specificity: Figure) -> list[str]:
    """Draw a dot, and the intervals of both figures as a cross."""
    x, y = 1 - (specificity["value"] or 0), sensitivity["value"] or 0
    cross = []
    if sensitivity["low"] is not None and sensitivity["high"] is not None:
        cross.append([(x, sensitivity["low"]), (x, sensitivity["high"])])
    if specificity["low"] is not None and specificity["high"] is not None:
        cross.append([(1 - specificity["high"], y), (1 - specificity["low"], y)])
    lines = [f'<path class="roc-interval" d="{_path(line)}"/>' for line in cross]
    cx, cy = _place(x, y)
    return [*lines, f'<circle class="roc-point" cx="{cx}" cy="{cy}" r="5"/>']
