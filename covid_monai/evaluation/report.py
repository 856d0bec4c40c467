"""From `predictions.csv` to `metrics.json` and a `report.html` that a physician can read."""

import base64
import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from rich.table import Table
from rich.text import Text
from sklearn.metrics import classification_report

from covid_monai.evaluation.bootstrap import metrics_with_intervals
from covid_monai.evaluation.figures import confusion_figure, png_bytes, roc_figure
from covid_monai.evaluation.metrics import CLASS_METRICS, HEADLINE_METRICS
from covid_monai.evaluation.operating_point import OperatingPoint, choose_operating_point, decide
from covid_monai.evaluation.predictions import Predictions, read_predictions
from covid_monai.evaluation.verdict import limit_sentences, number, result_sentence
from covid_monai.files import write_atomically
from covid_monai.vocabulary import RESEARCH_USE

METRIC_NAMES = {
    "auroc": "AUROC",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
}
METRIC_MEANINGS = {
    "auroc": "chance that a case scores higher than a film of another class; 0.5 is guessing",
    "balanced_accuracy": "mean of the sensitivities, so that a frequent class counts no more than a rare one",
    "macro_f1": "mean over the classes of F1",
    "accuracy": "share of all films decided rightly; high wherever one class is frequent",
    "sensitivity": "of the films of this class, the share decided so",
    "specificity": "of the films of other classes, the share not decided so",
    "ppv": "of the films decided so, the share that are",
    "npv": "of the films not decided so, the share that are not",
    "f1": "harmonic mean of sensitivity and PPV",
}


def write_report(
    predictions_csv: Path,
    output_dir: Path,
    *,
    operating_point: OperatingPoint | None,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Evaluate predictions and write `metrics.json` and `report.html`.

    Args:
        predictions_csv: As `write_predictions` writes it; its test rows are evaluated.
        output_dir: Folder of the two files; made if missing.
        operating_point: Thresholds to apply unchanged; None chooses them on the validation rows, and
            without such rows the most probable class is the decision.
        provenance: `model` (mapping: name, version, checkpoint digest, whatever is known), `datalist`,
            `datalist_digest`; other keys, such as the command, are kept under `run`.

    Returns:
        What `metrics.json` holds; no NaN, undefined values are null:

        - `verdict`: `result` (one sentence) and `limits` (sentences, gravest first).
        - `test`, `validation` (null without rows): as `metrics_with_intervals` gives it: `auroc`,
          `balanced_accuracy`, `macro_f1`, `accuracy`, each `{"value", "low", "high"}`; `per_class` (name to
          `auroc`, `sensitivity`, `specificity`, `ppv`, `npv`, `f1` likewise, and `support`);
          `confusion_matrix`, `n`, `classes_without_cases`, `bootstrap`.
        - `operating_point`: `OperatingPoint.to_json`.
        - `classification_report`: scikit-learn's, of the test rows, as a mapping.
        - `data`: `datalist`, `datalist_digest`, `class_names`, `splits` (split to `images`, `patients`,
          `classes`: name to `images`, `patients`, `sources`: source to images).
        - `model`, `run`: from `provenance`. `notice`: what this software is not.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is malformed, has no test rows, or the operating point has other classes.
    """
    predictions = read_predictions(predictions_csv)
    test, validation = predictions.split("test"), predictions.split("validation")
    if len(test) == 0:
        raise ValueError(f"{predictions_csv}: no row of the split test; only test rows are evaluated.")
    digest = provenance.get("datalist_digest")
    point = operating_point or _chosen_on_validation(validation, digest)
    if point.class_names != predictions.class_names:
        raise ValueError(
            f"The operating point is for {', '.join(point.class_names)}; {predictions_csv} has "
            f"{', '.join(predictions.class_names)}."
        )
    evaluated = _evaluate(test, point)
    report = _json_ready(
        {
            "verdict": {
                "result": result_sentence(test, evaluated),
                "limits": limit_sentences(test, validation, evaluated, point, datalist_digest=digest),
            },
            "test": evaluated,
            "validation": _evaluate(validation, point) if len(validation) else None,
            "operating_point": point.to_json(),
            "classification_report": _classification_report(test, point, output_dict=True),
            "data": describe_data(predictions, provenance),
            "model": provenance.get("model", {}),
            "run": {k: v for k, v in provenance.items() if k not in ("model", "datalist", "datalist_digest")},
            "notice": RESEARCH_USE,
        }
    )
    write_atomically(Path(output_dir) / "report.html", _html(report, test, point))
    text = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(Path(output_dir) / "metrics.json", text + "\n")
    return report


def describe_data(predictions: Predictions, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """How many images and patients of which class and source stand in which split."""
    splits = {}
    for name in sorted(set(predictions.splits.tolist())):
        rows = predictions.split(name)
        classes = {c: _counts(rows, rows.labels == k) for k, c in enumerate(rows.class_names)}
        everything = _counts(rows, np.ones(len(rows), dtype=bool))
        splits[name] = {
            "images": everything["images"],
            "patients": everything["patients"],
            "classes": classes,
        }
    return {
        "datalist": provenance.get("datalist"),
        "datalist_digest": provenance.get("datalist_digest"),
        "class_names": list(predictions.class_names),
        "splits": splits,
    }


def summarise(metrics: Mapping[str, Any]) -> Table:
    """What `write_report` returned as a table for a terminal: test split, headline, then each class."""
    test = metrics["test"]
    title = f"Test split: {test['n']} images, {test['bootstrap']['patients']} patients"
    table = Table(title=title, caption=metrics["notice"])
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    for metric in HEADLINE_METRICS:
        prefix = "Macro " if metric == "auroc" else ""
        _add_metric(table, prefix + METRIC_NAMES[metric], test[metric])
    for name, values in test["per_class"].items():
        table.add_section()
        table.add_row(Text(f"{name} ({values['support']} images)", style="bold"))
        for metric in CLASS_METRICS:
            _add_metric(table, f"  {METRIC_NAMES[metric]}", values[metric])
    return table


def _add_metric(table: Table, name: str, metric: Mapping[str, float | None]) -> None:
    table.add_row(Text(name), number(metric["value"]), _interval(metric))


def _interval(metric: Mapping[str, float | None]) -> str:
    return "no interval" if metric["low"] is None else f"{number(metric['low'])} to {number(metric['high'])}"


def _short_interval(metric: Mapping[str, float | None]) -> str:
    return _interval(metric).replace(" to ", "\u2013")  # an en dash: four columns fit on a telephone


def _chosen_on_validation(validation: Predictions, datalist_digest: str | None) -> OperatingPoint:
    if len(validation) == 0:
        return OperatingPoint.argmax(
            validation.class_names, notes=["No validation rows to choose thresholds on."]
        )
    chosen_on = {
        "split": "validation",
        "patients": len(np.unique(validation.patients)),
        "datalist_digest": datalist_digest,
    }
    return choose_operating_point(
        validation.labels, validation.probabilities, validation.class_names, chosen_on=chosen_on
    )


def _evaluate(rows: Predictions, point: OperatingPoint) -> dict[str, Any]:
    decisions = decide(rows.probabilities, point)
    return metrics_with_intervals(rows.labels, decisions, rows.probabilities, rows.patients, rows.class_names)


def _classification_report(rows: Predictions, point: OperatingPoint, *, output_dict: bool) -> Any:
    return classification_report(
        rows.labels,
        decide(rows.probabilities, point),
        labels=range(len(rows.class_names)),
        target_names=list(rows.class_names),
        output_dict=output_dict,
        digits=3,
        zero_division=np.nan,
    )


def _counts(rows: Predictions, chosen: Any) -> dict[str, Any]:
    sources, images = np.unique(rows.sources[chosen], return_counts=True)
    return {
        "images": int(chosen.sum()),
        "patients": len(np.unique(rows.patients[chosen])),
        "sources": {source or "not recorded": int(n) for source, n in zip(sources, images, strict=True)},
    }


def _json_ready(value: Any) -> Any:
    """Plain values for JSON: arrays and numpy numbers as Python's, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_json_ready(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _html(report: Mapping[str, Any], test: Predictions, point: OperatingPoint) -> str:
    decisions = decide(test.probabilities, point)
    roc = roc_figure(
        test.labels, test.probabilities, test.class_names, decisions=decisions, title="ROC, test split"
    )
    confusion = confusion_figure(
        report["test"]["confusion_matrix"], test.class_names, title="Confusion matrix, test split"
    )
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, interval=_short_interval, png=_data_uri)
    template = (
        resources.files("covid_monai.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    text = _classification_report(test, point, output_dict=False)
    return environment.from_string(template).render(
        **report,
        headline_metrics=HEADLINE_METRICS,
        class_metrics=CLASS_METRICS,
        metric_names=METRIC_NAMES,
        meanings=METRIC_MEANINGS,
        pictures={"roc": roc, "confusion": confusion},
        # scikit-learn prints nan where a ratio has no cases.
        classification_text=re.sub(r"\bnan\b", "  -", text),
    )


def _data_uri(figure: Any) -> str:
    return "data:image/png;base64," + base64.b64encode(png_bytes(figure)).decode("ascii")
