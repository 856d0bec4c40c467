"""Names and meanings of the metrics, and the table of them that a terminal shows."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from covid_monai.core.number_format import format_count, format_interval, format_metric

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
    "auroc": "probability that a case has a higher score than an image of another class; 0.5 is guessing",
    "balanced_accuracy": "mean of the sensitivities; a frequent class counts no more than a rare one",
    "macro_f1": "mean of F1 over the classes",
    "accuracy": "share of all images that are classified correctly; high wherever one class is frequent",
    "kappa": "agreement of decision and truth beyond chance; 0 is chance, 1 is perfect",
    "sensitivity": "share of the images of this class that are decided as this class",
    "specificity": "share of the images of other classes that are not decided as this class",
    "ppv": "positive predictive value: share of the images decided as this class that are of this class",
    "npv": "negative predictive value: share of the images not decided as this class that are of another",
    "f1": "harmonic mean of sensitivity and PPV",
    "lr_positive": "factor by which a decision for this class multiplies its odds; above 10 is strong",
    "lr_negative": "factor by which a decision against this class multiplies its odds; below 0.1 is strong",
    "average_precision": "area under the precision-recall curve; guessing reaches the share of the class",
    "brier": "mean squared error of the probabilities; 0 is perfect",
    "log_loss": "penalty for confident errors; 0 is perfect",
    "ece": "expected calibration error: mean difference of probability and frequency; 0 is perfect",
}


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """Make a table for a terminal: headline metrics of the test split, then those of each class.

    Args:
        metrics: Result of `write_report`.
    """
    from covid_monai.evaluation.metrics.classification_metrics import CLASS_METRICS, HEADLINE_METRICS

    test = metrics["test"]
    images = format_count(test["n"], "image")
    title = f"Test split: {images}, {format_count(test['bootstrap']['patients'], 'patient')}"
    table = Table(title=title, caption=metrics["notice"])
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")

    def add(name: str, metric: Mapping[str, float | None]) -> None:
        table.add_row(Text(name), format_metric(metric["value"]), format_interval(metric))

    for key in HEADLINE_METRICS:
        add(("Macro " if key == "auroc" else "") + METRIC_NAMES[key], test[key])
    for name, values in test["per_class"].items():
        table.add_section()
        table.add_row(Text(f"{name} ({format_count(values['support'], 'image')})", style="bold"))
        for key in CLASS_METRICS:
            add(f"  {METRIC_NAMES[key]}", values[key])
    return table
