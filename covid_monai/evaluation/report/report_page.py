"""The page `report.html`: one file that contains its figures, made of what `write_report` gathered."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from covid_monai.core.number_format import format_metric
from covid_monai.core.vocabulary import NORMAL
from covid_monai.evaluation.metrics.classification_metrics import (
    CLASS_METRICS,
    HEADLINE_METRICS,
    MORE_CLASS_METRICS,
    MORE_HEADLINE_METRICS,
)
from covid_monai.evaluation.metrics.prediction_table import PredictionTable
from covid_monai.evaluation.report.html_template import data_uri, render_template
from covid_monai.evaluation.report.metric_wording import METRIC_MEANINGS, METRIC_NAMES
from covid_monai.evaluation.report.plots import (
    figure_to_png,
    plot_confusion_matrix,
    plot_decision_curve,
    plot_precision_recall,
    plot_predictive_values,
    plot_reliability,
    plot_roc,
)


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
        headline_metrics=(*HEADLINE_METRICS, *MORE_HEADLINE_METRICS),
        class_metrics=(*CLASS_METRICS, *MORE_CLASS_METRICS),
        metric_names=METRIC_NAMES,
        meanings=METRIC_MEANINGS,
        figures=_figures(report, test, decisions),
    )


def _figures(report: Mapping[str, Any], test: PredictionTable, decisions: ArrayLike) -> list[dict[str, str]]:
    """Draw every figure: `src` (data URI), `alt` (its content in words) and `caption`."""
    names, result = test.class_names, report["test"]
    aurocs = "; ".join(f"{k} {format_metric(v['auroc']['value'])}" for k, v in result["per_class"].items())
    curves: dict[str, Any] = {
        "labels": test.labels,
        "probabilities": test.probabilities,
        "class_names": names,
        "decisions": decisions,
    }
    figures = [
        _figure(
            plot_confusion_matrix(result["confusion_matrix"], names, title="Confusion matrix, test split"),
            _confusion_in_words(result["confusion_matrix"], names),
            "Rows: truth. Columns: decision at the operating point.",
        ),
        _figure(
            plot_roc(**curves, title="ROC, test split"),
            f"ROC curves of the test split. AUROC of each class against the rest: {aurocs}.",
            "One class against the rest. The dot is the operating point; the dotted line is guessing.",
        ),
        _figure(
            plot_precision_recall(**curves, title="Precision-recall, test split"),
            "Precision-recall curves of the test split, one class against the rest.",
            "The dot is the operating point. Guessing reaches the short dotted line at the right: the share "
            "of the class in this split.",
        ),
    ]
    if report["calibration"]:
        figures.append(
            _figure(
                plot_reliability(report["calibration"]["reliability"], title="Reliability, test split"),
                "Reliability diagram of the test split: predicted probability against observed frequency.",
                "On the dotted line, a probability of 0.8 is right in 80 of 100 images; below it, in fewer.",
            )
        )
    return figures + [figure for name in _diseases(names) for figure in _use_figures(report, name)]


def _diseases(names: Sequence[str]) -> list[str]:
    """Return the classes on which one would act: all but the normal one; of two classes the second."""
    return [name for name in names if name != NORMAL] if NORMAL in names or len(names) > 2 else [names[1]]


def _use_figures(report: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    figures = []
    if name in report["prevalence"]:
        figures.append(
            _figure(
                plot_predictive_values(report["prevalence"][name], title=f"Predictive values, {name}"),
                f"PPV and NPV of {name} against the prevalence of {name}.",
                f"Worth of a decision for or against {name} where {name} is rarer or more common.",
            )
        )
    if name in report["decision_curve"]:
        figures.append(
            _figure(
                plot_decision_curve(report["decision_curve"][name], title=f"Decision curve, {name}"),
                f"Decision curve of {name}: net benefit against the probability from which one would act.",
                "The model is useful where its line lies above both others, at the frequency of the class in "
                "this split.",
            )
        )
    return figures


def _figure(figure: Figure, alt: str, caption: str) -> dict[str, str]:
    return {"src": data_uri(figure_to_png(figure), "image/png"), "alt": alt, "caption": caption}


def _confusion_in_words(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    sentences = ["Confusion matrix of the test split."]
    for name, row in zip(names, confusion, strict=True):
        decided = ", ".join(f"{n} as {other}" for n, other in zip(row, names, strict=True))
        sentences.append(f"Of {sum(row)} {name} images, the decisions were: {decided}.")
    return " ".join(sentences)
