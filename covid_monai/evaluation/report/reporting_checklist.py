"""The CLAIM 2024 and TRIPOD+AI items of a test, as far as the run itself can answer them.

The items stand in `reporting_checklist.yaml`. An item that only the authors can answer stays blank: a program
must not make a checklist look complete. The wording of the guidelines is shortened.

Reference: Tejani 2024, Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 update,
Radiology: Artificial Intelligence 6:e240300; Collins 2024, TRIPOD+AI statement, BMJ 385:e078378.
"""

import platform
from collections import Counter
from collections.abc import Callable, Mapping
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import yaml

from covid_monai.evaluation.metrics.prediction_table import PredictionTable
from covid_monai.evaluation.report.report_sentences import in_words

_PACKAGES = ("covid-monai", "monai", "torch", "numpy", "scikit-learn", "statsmodels", "scikit-image")
Fill = Callable[[Mapping[str, Any], PredictionTable], str | None]


def fill_checklist(report: Mapping[str, Any], predictions: PredictionTable) -> list[dict[str, str | None]]:
    """Answer every item that the run can answer.

    Args:
        report: What `write_report` has gathered so far: its keys without this sheet.
        predictions: All rows of `predictions.csv`.

    Returns:
        By item: `section`, `claim` and `tripod` (item numbers or None), `item`, `answer` (None: blank).
    """
    text = resources.files(__package__).joinpath("reporting_checklist.yaml").read_text("utf-8")
    sheet = []
    for entry in yaml.safe_load(text):
        fill = entry.get("fill")
        sheet.append(
            {
                "section": entry["section"],
                "claim": entry.get("claim"),
                "tripod": entry.get("tripod"),
                "item": entry["item"],
                "answer": FILLS[fill](report, predictions) or None if fill else None,
            }
        )
    return sheet


def _sources(report: Mapping[str, Any], predictions: PredictionTable) -> str | None:
    known = Counter(source for source in predictions.sources.tolist() if source)
    return ", ".join(f"{source} ({count} images)" for source, count in known.most_common()) or None


def _preprocessing(report: Mapping[str, Any], predictions: PredictionTable) -> str | None:
    digest = report["model"].get("preprocessing_digest")
    return (
        digest and f"The section preprocessing of the bundle's configs/inference.yaml, digest {digest[:16]}"
    )


def _missing(report: Mapping[str, Any], predictions: PredictionTable) -> str | None:
    empty = {
        "source": np.sum(predictions.sources == ""),
        "view": np.sum(predictions.views == ""),
        "sex": np.sum(predictions.sexes == ""),
        "age": np.sum(np.isnan(predictions.ages)),
    }
    listing = ", ".join(f"{name} {count}" for name, count in empty.items() if count)
    if not listing:
        return "Source, view, sex and age are recorded for every image"
    return f"Not recorded, of {len(predictions)} images: {listing}. Nothing was imputed"


def _partitions(report: Mapping[str, Any], predictions: PredictionTable) -> str | None:
    data = report["data"]
    if not data["datalist"]:
        return None
    digest = f", digest {data['datalist_digest'][:16]}" if data["datalist_digest"] else ""
    return f"By the datalist {data['datalist'].rsplit('/', 1)[-1]}{digest}"


def _disjoint(report: Mapping[str, Any], predictions: PredictionTable) -> str | None:
    splits = sorted(set(predictions.splits.tolist()))
    if len(splits) < 2:
        return None
    parts = [set(predictions.split(name).patients.tolist()) for name in splits]
    shared = len(set.intersection(*parts))
    if shared:
        return f"Not disjoint: {shared} patients are in {' and '.join(splits)}"
    return f"Patient: none is in both {' and '.join(splits)}"


def _model(report: Mapping[str, Any], predictions: PredictionTable) -> str | None:
    known = {key: str(value) for key, value in report["model"].items() if "digest" not in key}
    if "weights_sha256" in known:
        known["weights_sha256"] = known["weights_sha256"][:16]  # enough to tell files apart
    return "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in known.items()) or None


def _software(report: Mapping[str, Any], predictions: PredictionTable) -> str:
    found = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _imbalance(report: Mapping[str, Any], predictions: PredictionTable) -> str:
    counts = {name: values["support"] for name, values in report["test"]["per_class"].items()}
    listing = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"Images in the test split: {listing}. Headline metrics are means over the classes"


def _intervals(report: Mapping[str, Any], predictions: PredictionTable) -> str:
    settings = report["test"]["bootstrap"]
    drawn, seed = settings["resamples"], settings["seed"]
    return f"95 % intervals; {drawn} bootstrap resamples of whole patients, seed {seed}"


def _calibration(report: Mapping[str, Any], predictions: PredictionTable) -> str | None:
    calibration = report.get("calibration")
    if not calibration:
        return None
    return f"Temperature {calibration['temperature']:.3f}, fitted on the validation split only"


def _thresholds(report: Mapping[str, Any], predictions: PredictionTable) -> str:
    point = report["operating_point"]
    listing = ", ".join(f"{name} {value:.3g}" for name, value in point["thresholds"].items())
    where = point["chosen_on"].get("split", "no data")
    return f"One probability per class; thresholds ({listing}) chosen on: {where}. {point['rule']}"


def _robustness(report: Mapping[str, Any], predictions: PredictionTable) -> str | None:
    controls = report.get("shortcut_controls")
    return controls["sentence"] if controls else None


def _fairness(report: Mapping[str, Any], predictions: PredictionTable) -> str | None:
    rows = (report.get("subgroups") or {}).get("rows", [])
    by = Counter(row["by"] for row in rows)
    listing = ", ".join(f"{name} ({count} groups)" for name, count in by.items())
    return f"Reported with intervals by {listing}" if listing else None


def _explainability(report: Mapping[str, Any], predictions: PredictionTable) -> str | None:
    explanation = report.get("explanation")
    if not explanation:
        return None
    return f"Grad-CAM at {explanation['layer']}. {explanation['randomisation']['sentence']}"


def _included(report: Mapping[str, Any], predictions: PredictionTable) -> str:
    splits = report["data"]["splits"].items()
    return "; ".join(f"{name}: {s['images']} images of {s['patients']} patients" for name, s in splits)


def _demographics(report: Mapping[str, Any], predictions: PredictionTable) -> str | None:
    parts = [_group(name, predictions.split(name)) for name in sorted(set(predictions.splits.tolist()))]
    return "; ".join(part for part in parts if part) or None


def _group(name: str, rows: PredictionTable) -> str:
    facts = []
    sexes = Counter(sex for sex in rows.sexes.tolist() if sex)
    if sexes:
        facts.append("sex " + ", ".join(f"{sex} {count}" for sex, count in sorted(sexes.items())))
    ages = rows.ages[~np.isnan(rows.ages)]
    if len(ages):
        low, middle, high = np.percentile(ages, [25, 50, 75])
        facts.append(f"age median {middle:.0f} (quartiles {low:.0f} to {high:.0f}, n = {len(ages)})")
    return f"{name} (images): {'; '.join(facts)}" if facts else ""


def _performance(report: Mapping[str, Any], predictions: PredictionTable) -> str:
    auroc, balanced = report["test"]["auroc"], report["test"]["balanced_accuracy"]
    return f"AUROC {in_words(auroc)}, balanced accuracy {in_words(balanced)}"


def _diagnostic(report: Mapping[str, Any], predictions: PredictionTable) -> str:
    return "; ".join(
        f"{name}: sensitivity {in_words(v['sensitivity'])}, specificity {in_words(v['specificity'])}"
        for name, v in report["test"]["per_class"].items()
    )


def _failures(report: Mapping[str, Any], predictions: PredictionTable) -> str:
    confusion = np.array(report["test"]["confusion_matrix"])
    wrong = int(confusion.sum() - np.trace(confusion))
    shown = sum(not case["right"] for case in (report.get("explanation") or {}).get("gallery", []))
    return f"{wrong} of {confusion.sum()} test images decided wrongly; {shown} of them are shown above"


def _tested_on(report: Mapping[str, Any], *, same: bool) -> str | None:
    """The result, if it was measured on the datalist (or on another one) that the thresholds come from."""
    here, training = (
        report["data"]["datalist_digest"],
        report["operating_point"]["chosen_on"].get("datalist_digest"),
    )
    if not here or not training or (here == training) is not same:
        return None
    where = (
        "The test split of the datalist that the model comes from"
        if same
        else "Another datalist than the model's"
    )
    return f"{where}: {report['verdict']['result']}"


FILLS: dict[str, Fill] = {
    "technology": lambda report, _: (
        f"Deep learning on chest radiographs; classes: {', '.join(report['data']['class_names'])}"
    ),
    "sources": _sources,
    "preprocessing": _preprocessing,
    "missing": _missing,
    "partitions": _partitions,
    "disjoint": _disjoint,
    "model": _model,
    "software": _software,
    "imbalance": _imbalance,
    "metrics": lambda report, _: (
        "AUROC, sensitivity, specificity, PPV, NPV, likelihood ratios, F1, kappa, Brier, ECE; see the tables"
    ),
    "intervals": _intervals,
    "calibration": _calibration,
    "thresholds": _thresholds,
    "robustness": _robustness,
    "fairness": _fairness,
    "explainability": _explainability,
    "internal": lambda report, _: _tested_on(report, same=True),
    "external": lambda report, _: _tested_on(report, same=False),
    "included": _included,
    "demographics": _demographics,
    "performance": _performance,
    "diagnostic": _diagnostic,
    "failures": _failures,
    "limitations": lambda report, _: " ".join(report["verdict"]["limits"]),
    "use": lambda report, _: report["notice"],
}
