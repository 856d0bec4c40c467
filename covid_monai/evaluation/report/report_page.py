"""`report.html`: one file with its pictures inside, from what `write_report` gathered."""

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from covid_monai.core.vocabulary import NORMAL
from covid_monai.evaluation.metrics.classification_metrics import (
    CLASS_METRICS,
    HEADLINE_METRICS,
    MORE_CLASS_METRICS,
    MORE_HEADLINE_METRICS,
)
from covid_monai.evaluation.metrics.prediction_table import PredictionTable
from covid_monai.evaluation.report.plots import (
    figure_to_png,
    plot_confusion_matrix,
    plot_decision_curve,
    plot_precision_recall,
    plot_predictive_values,
    plot_reliability,
    plot_roc,
)
from covid_monai.evaluation.report.report_sentences import number

METRIC_NAMES = {
    "auroc": "AUROC",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "accuracy": "Accuracy",
    "kappa": "Cohen's kappa",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "lr_positive": "LR+",
    "lr_negative": "LR\u2212",  # a minus sign
    "average_precision": "Average precision",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "ece": "ECE",
}
METRIC_MEANINGS = {
    "auroc": "chance that a case scores higher than an image of another class; 0.5 is guessing",
    "balanced_accuracy": "mean of the sensitivities, so that a frequent class counts no more than a rare one",
    "macro_f1": "mean over the classes of F1",
    "accuracy": "share of all images decided rightly; high wherever one class is frequent",
    "kappa": "agreement of decision and truth beyond chance; 0 is chance, 1 is perfect",
    "sensitivity": "of the images of this class, the share decided so",
    "specificity": "of the images of other classes, the share not decided so",
    "ppv": "of the images decided so, the share that are",
    "npv": "of the images not decided so, the share that are not",
    "f1": "harmonic mean of sensitivity and PPV",
    "lr_positive": "how much this decision multiplies the odds of the class; above 10 is strong",
    "lr_negative": "how much another decision multiplies the odds of the class; below 0.1 is strong",
    "average_precision": "area under the precision-recall curve; guessing reaches the class's share",
    "brier": "mean squared error of the probabilities; 0 is perfect",
    "log_loss": "penalty for confident mistakes; 0 is perfect",
    "ece": "expected calibration error: mean gap between probability and frequency; 0 is perfect",
}


def render_page(report: Mapping[str, Any], test: PredictionTable, decisions: ArrayLike) -> str:
    """The page as text.

    Args:
        report: As `write_report` describes it, with the gallery's pictures; plain values only.
        test: The test rows.
        decisions: Their decided classes, shape [N].
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, interval=_short_interval, percent=_percent)
    text = resources.files(__package__).joinpath("report.html.j2").read_text("utf-8")
    return environment.from_string(text).render(
        **report,
        headline_metrics=(*HEADLINE_METRICS, *MORE_HEADLINE_METRICS),
        class_metrics=(*CLASS_METRICS, *MORE_CLASS_METRICS),
        metric_names=METRIC_NAMES,
        meanings=METRIC_MEANINGS,
        pictures=_pictures(report, test, decisions),
    )


def interval(metric: Mapping[str, float | None]) -> str:
    """`0.921 to 0.978`, or that there is none."""
    return "no interval" if metric["low"] is None else f"{number(metric['low'])} to {number(metric['high'])}"


def _short_interval(metric: Mapping[str, float | None]) -> str:
    return interval(metric).replace(" to ", "\u2013")  # an en dash: four columns fit on a telephone


def _percent(value: float | None) -> str:
    return "not defined" if value is None else f"{100 * value:.0f} %"


def _pictures(report: Mapping[str, Any], test: PredictionTable, decisions: ArrayLike) -> list[dict[str, str]]:
    """Every picture as `src` (data URI), `alt` (what it shows, in words) and `caption`."""
    names = test.class_names
    areas = "; ".join(
        f"{name} {number(v['auroc']['value'])}" for name, v in report["test"]["per_class"].items()
    )
    dot = "The dot is the operating point"
    pictures = [
        _picture(
            plot_confusion_matrix(
                report["test"]["confusion_matrix"], names, title="Confusion matrix, test split"
            ),
            _confusion_in_words(report["test"]["confusion_matrix"], names),
            "Rows: truth. Columns: decision at the operating point.",
        ),
        _picture(
            plot_roc(test.labels, test.probabilities, names, decisions=decisions, title="ROC, test split"),
            f"ROC curves of the test split. AUROC of each class against the rest: {areas}.",
            f"One class against the rest. {dot}; the dotted line is guessing.",
        ),
        _picture(
            plot_precision_recall(
                test.labels,
                test.probabilities,
                names,
                decisions=decisions,
                title="Precision-recall, test split",
            ),
            "Precision-recall curves of the test split, one class against the rest.",
            f"{dot}; guessing reaches the short dotted line at the right, the class's share of this split.",
        ),
    ]
    if report["calibration"]:
        reliability = plot_reliability(report["calibration"]["reliability"], title="Reliability, test split")
        pictures.append(
            _picture(
                reliability,
                "Reliability diagram of the test split: probability given against share that is so.",
                "On the dotted line a probability of 0.8 is right in 80 of 100 images; below it, in fewer.",
            )
        )
    return pictures + [picture for name in _diseases(names) for picture in _use_pictures(report, name)]


def _diseases(names: Sequence[str]) -> list[str]:
    """Classes on which one would act: all but the normal one; of two the second."""
    return [name for name in names if name != NORMAL] if NORMAL in names or len(names) > 2 else [names[1]]


def _use_pictures(report: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    pictures = []
    if name in report["prevalence"]:
        pictures.append(
            _picture(
                plot_predictive_values(report["prevalence"][name], title=f"Predictive values, {name}"),
                f"Predictive values of the decision {name} against the prevalence of {name}.",
                f"What a decision for or against {name} is worth where it is rarer or more frequent.",
            )
        )
    if name in report["decision_curve"]:
        pictures.append(
            _picture(
                plot_decision_curve(report["decision_curve"][name], title=f"Decision curve, {name}"),
                f"Decision curve for {name}: net benefit against the probability from which one would act.",
                "Useful where the model lies above both other lines, at this split's frequency of the class.",
            )
        )
    return pictures


def _picture(figure: Figure, alt: str, caption: str) -> dict[str, str]:
    source = "data:image/png;base64," + base64.b64encode(figure_to_png(figure)).decode("ascii")
    return {"src": source, "alt": alt, "caption": caption}


def _confusion_in_words(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    sentences = ["Confusion matrix of the test split."]
    for name, row in zip(names, confusion, strict=True):
        calls = ", ".join(f"{n} were called {other}" for n, other in zip(row, names, strict=True))
        sentences.append(f"Of {sum(row)} {name} images {calls}.")
    return " ".join(sentences)
