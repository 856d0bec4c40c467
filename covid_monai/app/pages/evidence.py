"""What lies beside a bundle's weights on how well they do: the files that `covid-monai evaluate` wrote."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from covid_monai.app.widgets.figures import FOLDER
from covid_monai.bundle import Bundle
from covid_monai.core.errors import first_line

logger = logging.getLogger(__name__)
CLASS_FIGURES = ("auroc", "sensitivity", "specificity")
# Whoever wrote the report: it may show itself, and fetch nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Check(NamedTuple):
    """One check for shortcuts.

    Args:
        sentence: What it says.
        shortcut: Whether it found one; None where it cannot say.
    """

    sentence: str
    shortcut: bool | None


@dataclass(frozen=True)
class Evidence:
    """An evaluation of a bundle on its test split, as `write_report` tells of it.

    Args:
        result: The headline, in one sentence.
        checks: The confounding verdict: what the checks for shortcuts say; empty if none was run.
        limits: What a reader must know, gravest first.
        per_class: Class name to `support` and to figures (`value`, `low`, `high`) of `CLASS_FIGURES`.
        rocs: Class name to its ROC curve, (1 - specificity, sensitivity) from (0, 0) to (1, 1).
        report: The page `report.html`, closed to the network; None if only the figures are there.
        same_weights: Whether it was made with the very weights that are loaded.
    """

    result: str
    checks: tuple[Check, ...]
    limits: tuple[str, ...]
    per_class: Mapping[str, Mapping[str, Any]]
    rocs: Mapping[str, list[tuple[float, float]]]
    report: str | None
    same_weights: bool


def find_evidence(bundle: Bundle, weights_sha256: str) -> Evidence | None:
    """Read the evaluation in the bundle's folder `evaluation`; None if there is none that can be read.

    Args:
        bundle: Whose folder is looked into.
        weights_sha256: Of the weights that are loaded.
    """
    folder = bundle.root / FOLDER
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        report = folder / "report.html"
        page = report.read_text(encoding="utf-8") if report.is_file() else None
        return _evidence(metrics, page, weights_sha256)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s holds no evaluation that can be shown: %s", folder, first_line(error))
        return None


def _evidence(metrics: Mapping[str, Any], page: str | None, weights_sha256: str) -> Evidence:
    verdict = metrics["verdict"]
    tag = f'<!doctype html><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    return Evidence(
        result=str(verdict["result"]),
        checks=tuple(Check(str(each["sentence"]), each["shortcut"]) for each in verdict["shortcuts"]),
        limits=tuple(map(str, verdict["limits"])),
        per_class={
            str(name): {key: values[key] for key in ("support", *CLASS_FIGURES)}
            for name, values in metrics["test"]["per_class"].items()
        },
        rocs={
            str(name): list(zip(curve["one_minus_specificity"], curve["sensitivity"], strict=True))
            for name, curve in metrics.get("roc", {}).items()
        },
        report=page and tag + page,
        same_weights=metrics["model"].get("weights_sha256") == weights_sha256,
    )
