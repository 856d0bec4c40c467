"""The sheets of CLAIM 2024, TRIPOD+AI and PROBAST+AI, as far as the run itself can fill them in.

The items, their answers and the references stand in `reporting_checklist.yaml` and `risk_of_bias.yaml`.
"""

import platform
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import yaml

from covid_monai.evaluation.metrics.prediction_table import PredictionTable
from covid_monai.evaluation.report.templates import render_text

_PACKAGES = ("covid-monai", "monai", "torch", "numpy", "scikit-learn", "statsmodels", "scikit-image")


def fill_checklists(report: Mapping[str, Any], predictions: PredictionTable) -> dict[str, Any]:
    """Answer every item that the run can answer.

    Args:
        report: Keys that `write_report` has gathered so far, without these sheets.
        predictions: All rows of `predictions.csv`.

    Returns:
        `reporting_checklist`: one mapping per item of `section`, `claim` and `tripod` (item numbers or None),
        `item`, `answer` (None: blank). `risk_of_bias`: one per question of `domain`, `part` ("development",
        "evaluation" or "both"), `question`, `facts` (None: the run knows none).
    """
    values = {**report, **checklist_facts(report, predictions)}
    blank = {"claim": None, "tripod": None}
    return {
        "reporting_checklist": [blank | item for item in _filled("reporting_checklist", "answer", values)],
        "risk_of_bias": _filled("risk_of_bias", "facts", values),
    }


def _filled(name: str, key: str, values: Mapping[str, Any]) -> list[dict[str, str | None]]:
    text = resources.files(__package__).joinpath(f"{name}.yaml").read_text("utf-8")
    return [{**item, key: render_text(item.get(key, ""), **values) or None} for item in yaml.safe_load(text)]


def checklist_facts(report: Mapping[str, Any], rows: PredictionTable) -> dict[str, Any]:
    """Return what the answers need in addition to the report."""
    splits = [rows.split(name) for name in sorted(set(rows.splits.tolist()))]
    empty = {
        "source": np.sum(rows.sources == ""),
        "view": np.sum(rows.views == ""),
        "sex": np.sum(rows.sexes == ""),
        "age": np.sum(np.isnan(rows.ages)),
    }
    in_all_splits = set.intersection(*(set(split.patients.tolist()) for split in splits))
    here = report["data"]["datalist_digest"]
    training = report["operating_point"]["chosen_on"].get("datalist_digest")
    return {
        "n_rows": len(rows),
        "sources": Counter(source for source in rows.sources.tolist() if source).most_common(),
        "missing": [f"{name} {count}" for name, count in empty.items() if count],
        "in_all_splits": len(in_all_splits) if len(splits) > 1 else 0,
        "same_datalist": here == training if here and training else None,
        "python": platform.python_version(),
        "packages": _installed_packages(),
        "subgroup_counts": Counter(row["by"] for row in report["subgroups"]["rows"]),
        "demographics": [text for split in splits if (text := _demographics(split))],
        "wrong": report["test"]["n"] - int(np.trace(report["test"]["confusion_matrix"])),
    }


def _installed_packages() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def _demographics(rows: PredictionTable) -> str:
    """Describe sex and age in one split; empty if neither is recorded."""
    facts = []
    sexes = Counter(sex for sex in rows.sexes.tolist() if sex)
    if sexes:
        facts.append("sex " + ", ".join(f"{sex} {count}" for sex, count in sorted(sexes.items())))
    ages = rows.ages[~np.isnan(rows.ages)]
    if len(ages):
        low, middle, high = np.percentile(ages, [25, 50, 75])
        facts.append(f"age median {middle:.0f} (quartiles {low:.0f} to {high:.0f}, n = {len(ages)})")
    return f"{rows.splits[0]} (images): {'; '.join(facts)}" if facts else ""
