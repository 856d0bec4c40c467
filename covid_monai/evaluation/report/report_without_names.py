"""The report for readers who may not know the patients: without images, paths and free text of a datalist."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.evaluation.decisions.operating_point import OperatingPoint, decide
from covid_monai.evaluation.metrics.prediction_table import PredictionTable
from covid_monai.evaluation.report.report_files import describe_data
from covid_monai.evaluation.report.report_page import render_page
from covid_monai.evaluation.report.report_sentences import report_sentences
from covid_monai.evaluation.report.reporting_checklist import fill_checklists

# All other words of these columns are free text, and text can hold a name.
_KNOWN = {"view": ("", "AP", "PA", "AP Supine", "L"), "sex": ("", "F", "M", "O"), "source": ("",)}


def remove_names(metrics: Mapping[str, Any], predictions: PredictionTable) -> tuple[dict[str, Any], str]:
    """Return `metrics.json` and the page of an evaluation without anything that can name a person.

    All numbers and figures stay. Sources get numbers, as do views and sexes other than the usual ones.

    Args:
        metrics: Content of `metrics.json`, as `write_report` returns it.
        predictions: Table from which it was made.
    """
    names = {
        "source": _numbers(predictions.sources, "source"),
        "view": _numbers(predictions.views, "view"),
        "sex": _numbers(predictions.sexes, "sex"),
    }
    rows = _rename(predictions, names)
    test, validation = rows.split("test"), rows.split("validation")
    point = OperatingPoint.from_json(metrics["operating_point"])

    def renamed(section: Mapping[str, Any], key: str) -> dict[str, Any]:
        of_source = (
            {**row, "source": names["source"].get(row["source"], row["source"])} for row in section[key]
        )
        return {**section, key: list(of_source)}

    sets = metrics["abstention"]
    figures = {
        **metrics,
        "sources": renamed(metrics["sources"], "rows"),
        "abstention": sets and renamed(sets, "per_source"),
        "subgroups": {
            **metrics["subgroups"],
            "rows": [
                {**row, "name": names.get(row["by"], {}).get(row["name"], row["name"])}
                for row in metrics["subgroups"]["rows"]
            ],
        },
    }
    result, limits = report_sentences(test, validation, figures, point, provenance=metrics["data"])
    confounding, explanation = metrics["confounding"], metrics["explanation"]
    report = {
        **figures,
        "verdict": {**metrics["verdict"], "result": result, "limits": limits},
        "data": describe_data(rows, {**metrics["data"], "datalist": None}),
        "explanation": explanation and {**explanation, "gallery": []},
        "confounding": confounding and {key: confounding[key] for key in ("verdict", "shortcut")},
        "run": {},
    }
    report |= fill_checklists(report, rows)
    return report, render_page(report, test, decide(test.probabilities, point))


def _numbers(column: NDArray[np.str_], word: str) -> dict[str, str]:
    """Return the new name of each name that is not known."""
    unknown = sorted(set(column.tolist()).difference(_KNOWN[word]))
    return {name: f"{word} {number}" for number, name in enumerate(unknown, start=1)}


def _rename(rows: PredictionTable, names: Mapping[str, Mapping[str, str]]) -> PredictionTable:
    def renamed(column: NDArray[np.str_], word: str) -> NDArray[np.str_]:
        return np.array([names[word].get(name, name) for name in column.tolist()], dtype=np.str_)

    return replace(
        rows,
        images=np.arange(len(rows)).astype(np.str_),
        patients=np.unique(rows.patients, return_inverse=True)[1].astype(np.str_),
        sources=renamed(rows.sources, "source"),
        views=renamed(rows.views, "view"),
        sexes=renamed(rows.sexes, "sex"),
    )
