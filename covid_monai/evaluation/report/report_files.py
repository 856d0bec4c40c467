"""The files of an evaluation: `metrics.json` for programs and `report.html` for people."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import classification_report

from covid_monai.core.atomic_files import write_text_atomically
from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, decide
from covid_monai.evaluation.metrics.prediction_table import PredictionTable, read_predictions
from covid_monai.evaluation.report.report_metrics import choose_on_validation, compute_report_metrics
from covid_monai.evaluation.report.report_page import render_page
from covid_monai.evaluation.report.report_sentences import report_sentences
from covid_monai.evaluation.report.reporting_checklist import fill_checklists

# Pictures of the gallery are for the page only; metrics.json holds numbers and names.
_PICTURES = ("picture", "heatmap")
_OF_DATA = ("datalist", "datalist_digest", "images_not_counted", "external")


def write_report(
    predictions_csv: Path,
    output_dir: Path,
    *,
    operating_point: OperatingPoint | None,
    provenance: Mapping[str, Any],
    calibration: Calibration | None = None,
    explanation: Mapping[str, Any] | None = None,
    shortcut_controls: Mapping[str, Any] | None = None,
    confounding: Mapping[str, Any] | None = None,
    two_levels: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluate predictions and write `metrics.json` and `report.html`.

    Args:
        predictions_csv: Table as `write_predictions` writes it; its test rows are evaluated.
        output_dir: Folder for the two files; it is made if missing.
        operating_point: Thresholds to apply unchanged; None chooses them on the validation rows, and
            without such rows the most probable class is the decision.
        provenance: Origin: `model` (mapping of name, version, checkpoint digest and the like), `datalist`,
            `datalist_digest`, `images_not_counted` (listed images that could not be read), `external`
            (whether the test is of other hospitals and sources than the training; None if unknown); other
            keys, such as the command, are kept under `run`.
        calibration: Calibration of the bundle, which the predictions went through; None if it stores none.
        explanation: Heat maps, as `covid_monai.inference.heatmap_evaluation.evaluate_heatmaps` returns them.
        shortcut_controls: Results of the model on images without lungs: `sentence`, `shortcut` (bool or
            None), `rows` (`input`, `auroc`).
        confounding: Result of the audit of the data: `verdict`, `shortcut`.
        two_levels: How often abnormal and cause are right, as
            `covid_monai.inference.two_level_evaluation.evaluate_two_levels` returns it.

    Returns:
        The content of `metrics.json`, in which undefined values are null: `docs/evaluation-report.md` lists
        its keys.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is malformed, has no test rows, or if the operating point has other classes.
    """
    predictions = read_predictions(predictions_csv)
    test, validation = predictions.split("test"), predictions.split("validation")
    if len(test) == 0:
        raise ValueError(f"{predictions_csv} has no row of the split test, and only test rows are evaluated.")
    digest = provenance.get("datalist_digest")
    point = operating_point or choose_on_validation(validation, digest)
    if point.class_names != predictions.class_names:
        raise ValueError(
            f"The operating point is for {', '.join(point.class_names)}, but {predictions_csv} has "
            f"{', '.join(predictions.class_names)}."
        )
    evaluated = compute_report_metrics(test, validation, operating_point=point, calibration=calibration)
    decisions = decide(test.probabilities, point)
    result, limits = report_sentences(test, validation, evaluated, point, provenance=provenance)
    report = {
        "verdict": {
            "result": result,
            "shortcuts": _shortcuts(shortcut_controls, confounding),
            "limits": limits,
        },
        **evaluated,
        "two_levels": two_levels,
        "classification_report": _classification_report(test, decisions),
        "data": describe_data(predictions, provenance),
        "explanation": explanation,
        "shortcut_controls": shortcut_controls,
        "confounding": confounding,
        "model": provenance.get("model", {}),
        "run": {key: value for key, value in provenance.items() if key not in ("model", *_OF_DATA)},
        "notice": RESEARCH_USE,
    }
    report = _json_ready(report | fill_checklists(report, predictions))
    write_text_atomically(Path(output_dir) / "report.html", render_page(report, test, decisions))
    figures = _without_pictures(report)
    text = json.dumps(figures, indent=2, allow_nan=False, ensure_ascii=False)
    write_text_atomically(Path(output_dir) / "metrics.json", text + "\n")
    return figures


def _classification_report(test: PredictionTable, decisions: NDArray[np.int64]) -> Any:
    return classification_report(
        test.labels,
        decisions,
        labels=range(len(test.class_names)),
        target_names=list(test.class_names),
        output_dict=True,
        zero_division=np.nan,
    )


def describe_data(predictions: PredictionTable, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Count images and patients by split, class and source."""
    splits = {}
    for name in sorted(set(predictions.splits.tolist())):
        rows = predictions.split(name)
        splits[name] = {
            "images": len(rows),
            "patients": len(np.unique(rows.patients)),
            "classes": {c: _counts(rows.where(rows.labels == k)) for k, c in enumerate(rows.class_names)},
        }
    return {
        **{key: provenance.get(key) for key in _OF_DATA},
        "class_names": list(predictions.class_names),
        "splits": splits,
    }


def _shortcuts(
    controls: Mapping[str, Any] | None, confounding: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Return the results of the two checks for shortcuts; empty if neither was run."""
    found = [] if confounding is None else [(confounding["verdict"], confounding["shortcut"])]
    found += [] if controls is None else [(controls["sentence"], controls["shortcut"])]
    return [{"sentence": sentence, "shortcut": shortcut} for sentence, shortcut in found]


def _without_pictures(report: dict[str, Any]) -> dict[str, Any]:
    if report["explanation"] is None:
        return report
    cases = report["explanation"]["gallery"]
    gallery = [{key: value for key, value in case.items() if key not in _PICTURES} for case in cases]
    return report | {"explanation": report["explanation"] | {"gallery": gallery}}


def _counts(rows: PredictionTable) -> dict[str, Any]:
    sources, images = np.unique(rows.sources, return_counts=True)
    return {
        "images": len(rows),
        "patients": len(np.unique(rows.patients)),
        "sources": {source or "not recorded": int(n) for source, n in zip(sources, images, strict=True)},
    }


def _json_ready(value: Any) -> Any:
    """Convert arrays and numpy numbers to Python's, NaN and infinity to None, for JSON."""
    if isinstance(value, Mapping):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_json_ready(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
