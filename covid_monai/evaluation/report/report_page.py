"""The page `report.html`: one file that contains its figures, made of what `write_report` gathered."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from covid_monai.core.vocabulary import NORMAL
from covid_monai.evaluation.metrics.classification_metrics import (
    CLASS_METRICS,
    HEADLINE_METRICS,
    MORE_CLASS_METRICS,
    MORE_HEADLINE_METRICS,
)
from covid_monai.evaluation.metrics.prediction_table import PredictionTable
from covid_monai.evaluation.report import plots
from covid_monai.evaluation.report.metric_wording import METRIC_MEANINGS, METRIC_NAMES
from covid_monai.evaluation.report.templates import data_uri, render_template


def render_page(report: Mapping[str, Any], test: PredictionTable, decisions: ArrayLike) -> str:
    """Return the page as text.

    Args:
        report: Content as `write_report` describes it, with the pictures of the gallery; plain values only.
        test: Rows of the test split.
        decisions: Decided classes of these rows, shape [N].
    """
    return render_template(
        "report.html.j2",
        **report,
        headline_metrics=(*HEADLINE_METRICS, *MORE_HEADLINE_METRICS, "ece_by_chance"),
        class_metrics=(*CLASS_METRICS, *MORE_CLASS_METRICS, "ece_by_chance"),
        metric_names=METRIC_NAMES,
        meanings=METRIC_MEANINGS,
        diseases=_diseases(test.class_names),
        figures=_figures(report, test, decisions),
    )


def _figures(report: Mapping[str, Any], test: PredictionTable, decisions: ArrayLike) -> dict[str, str]:
    """Draw every figure: its name in the template to its data URI."""
    names = test.class_names
    curves, confusion = (test.labels, test.probabilities, names), report["test"]["confusion_matrix"]
    recall_title = "Precision-recall, test split"
    drawn = {
        "confusion": plots.plot_confusion_matrix(confusion, names, title="Confusion matrix, test split"),
        "roc": plots.plot_roc(*curves, decisions=decisions, title="ROC, test split"),
        "precision_recall": plots.plot_precision_recall(*curves, decisions=decisions, title=recall_title),
    }
    if report["calibration"]:
        bins = report["calibration"]["reliability"]
        drawn["reliability"] = plots.plot_reliability(bins, title="Reliability, test split")
    for name in _diseases(names):
        rows, curve = report["prevalence"].get(name), report["decision_curve"].get(name)
        if rows:
            title = f"Predictive values, {name}"
            drawn[f"prevalence {name}"] = plots.plot_predictive_values(rows, title=title)
        if curve:
            drawn[f"use {name}"] = plots.plot_decision_curve(curve, title=f"Decision curve, {name}")
        for row in report["sources"]["rows"]:
            if row["class"] == name and row["metrics"]:
                # The name of the source stands below the figure: text in a picture could not be left out.
                curve, title = row["metrics"]["decision_curve"], f"Decision curve, {name}, one source"
                drawn[f"use {name} {row['source']}"] = plots.plot_decision_curve(curve, title=title)
    return {name: data_uri(plots.figure_to_png(figure), "image/png") for name, figure in drawn.items()}


def _diseases(names: Sequence[str]) -> list[str]:
    """Return the classes on which one would act: all but the normal one; of two classes the second."""
    return [name for name in names if name != NORMAL] if NORMAL in names or len(names) > 2 else [names[1]]
