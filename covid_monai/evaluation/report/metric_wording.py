"""Names and meanings of the metrics, and the table of them that a terminal shows."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml
from rich.table import Table
from rich.text import Text

from covid_monai.core.number_format import format_count, format_interval, format_metric

_WORDING = yaml.safe_load(resources.files(__package__).joinpath("metric_wording.yaml").read_text("utf-8"))
METRIC_NAMES: dict[str, str] = {metric: wording["name"] for metric, wording in _WORDING.items()}
METRIC_MEANINGS: dict[str, str] = {metric: wording["meaning"] for metric, wording in _WORDING.items()}


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """Make a table for a terminal of what `write_report` returned: headline metrics, then each class."""
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
