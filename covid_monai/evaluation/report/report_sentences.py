"""The first section of a report in plain sentences: the result, and what limits it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from covid_monai.core.effective_number import effective_number
from covid_monai.evaluation.decisions.operating_point import ARGMAX_RULE, OperatingPoint
from covid_monai.evaluation.metrics.prediction_table import PredictionTable
from covid_monai.evaluation.report.templates import render_template

# With fewer patients (effectively) in a class, one changes its sensitivity by more than three points.
FEW_PATIENTS = 30
# A probability of 0.90 that is right in 85 of 100 images misleads; a smaller difference hardly does.
MISCALIBRATED = 0.05


def report_sentences(
    test: PredictionTable,
    validation: PredictionTable,
    evaluated: Mapping[str, Any],
    operating_point: OperatingPoint,
    *,
    provenance: Mapping[str, Any],
) -> tuple[str, list[str]]:
    """Return the result, and what a reader must know before believing it, the most serious limit first.

    `evaluated` is the result of `compute_report_metrics`, `provenance` that of `write_report`.
    """
    classes = [_class_facts(test, k) for k in range(len(test.class_names)) if k in test.labels]
    text = render_template(
        "report_sentences.txt.j2",
        n=len(test),
        patients=len(np.unique(test.patients)),
        metrics=evaluated["test"],
        within=[row for row in evaluated["subgroups"]["rows"] if row["by"] == "source" and not row["thin"]],
        misfits=_misfits(evaluated["sources"]["rows"]),
        ppv_ranges=_ppv_ranges(evaluated["sources"]["rows"]),
        sources=np.unique(test.sources).tolist(),
        without_source=np.sum(test.sources == ""),
        confounded=[each for each in classes if len(each["sources"]) == 1 or not each["shared"]],
        in_both_splits=len(np.intersect1d(test.patients, validation.patients)),
        point=operating_point,
        argmax_rule=ARGMAX_RULE,
        datalist_digest=provenance.get("datalist_digest"),
        not_counted=provenance.get("images_not_counted"),
        few=[each for each in classes if each["effective"] < FEW_PATIENTS],
        few_patients=FEW_PATIENTS,
        miscalibrated=MISCALIBRATED,
    )
    result, *limits = [line for line in text.split("\n") if line]
    return result, limits


def _class_facts(test: PredictionTable, k: int) -> dict[str, Any]:
    """Return number of images and patients of a class, its sources, and whether another class shares one."""
    of_class = test.labels == k
    sources = np.unique(test.sources[of_class])
    return {
        "name": test.class_names[k],
        "images": int(of_class.sum()),
        "patients": len(np.unique(test.patients[of_class])),
        "sources": sources.tolist(),
        "effective": effective_number(test.patients[of_class].tolist()),
        "shared": bool(np.isin(sources, test.sources[~of_class]).any()),
    }


def _misfits(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the classes whose probabilities are too high or too low on average in a source."""
    found = []
    for row in rows:
        low, high = (
            (row["metrics"]["intercept"][end] for end in ("low", "high")) if row["metrics"] else (None, None)
        )
        if low is not None and high is not None and (low > 0 or high < 0):
            found.append(f"too {'low' if low > 0 else 'high'} for {row['class']} in {row['source']}")
    return found


def _ppv_ranges(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the sources of the lowest and of the highest PPV of each class that has several."""
    known = [row for row in rows if row["metrics"] and row["metrics"]["ppv"]["value"] is not None]
    ranges = []
    for name in dict.fromkeys(row["class"] for row in known):
        ordered = sorted((r for r in known if r["class"] == name), key=lambda r: r["metrics"]["ppv"]["value"])
        if len(ordered) > 1:
            ranges.append({"class": name, "least": ordered[0], "most": ordered[-1]})
    return ranges
