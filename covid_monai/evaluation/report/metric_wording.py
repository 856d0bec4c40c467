"""What `metrics.json` holds as a table for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from covid_monai.evaluation.metrics.classification_metrics import CLASS_METRICS, HEADLINE_METRICS
from covid_monai.evaluation.report.report_page import METRIC_NAMES, interval
from covid_monai.evaluation.report.report_sentences import number


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
    table.add_row(Text(name), number(metric["value"]), interval(metric))
