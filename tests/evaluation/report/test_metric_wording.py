"""Names and meanings of the metrics, and their table in a terminal."""

import io
import re

import numpy as np
import pytest
from evaluation_helpers import NAMES, rows
from rich.console import Console

from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.metrics.bootstrapped_metrics import evaluate_rows
from covid_monai.evaluation.metrics.classification_metrics import (
    CLASS_METRICS,
    HEADLINE_METRICS,
    MORE_CLASS_METRICS,
    MORE_HEADLINE_METRICS,
)
from covid_monai.evaluation.report.metric_wording import METRIC_MEANINGS, METRIC_NAMES, metrics_table


def metrics(test):
    point = OperatingPoint.argmax(test.class_names)
    return {"test": evaluate_rows(test, point, resamples=50), "notice": "research only"}


def printed(values):
    console = Console(file=io.StringIO(), width=80)
    console.print(metrics_table(values))
    return console.file.getvalue()


@pytest.mark.parametrize(
    "metric", [*HEADLINE_METRICS, *MORE_HEADLINE_METRICS, *CLASS_METRICS, *MORE_CLASS_METRICS]
)
def test_every_metric_has_a_name_and_a_meaning(metric):
    assert METRIC_NAMES[metric]
    assert METRIC_MEANINGS[metric]


def test_terminal_summary_shows_headline_intervals_and_each_class():
    values = metrics(rows(120))
    text, auroc = printed(values), values["test"]["auroc"]
    assert re.search(rf"Macro AUROC .*{auroc['value']:.3f} .*{auroc['low']:.3f} to {auroc['high']:.3f}", text)
    assert [name for name in NAMES if f"{name} (40 images)" in text] == list(NAMES)
    assert text.count("Sensitivity") == text.count("PPV") == 3
    assert "120 images, 60 patients" in text
    assert "research only" in text


def test_markup_in_class_names_stays_text():
    assert "[red]covid" in printed(metrics(rows(40, names=("<b>normal</b>", "[red]covid"))))


def test_a_metric_that_is_not_defined_is_said_to_be_so():
    text = printed(metrics(rows(60).where(np.flatnonzero(rows(60).labels == 0))))
    line = next(line for line in text.splitlines() if "Macro AUROC" in line)
    assert not re.search(r"\d", line)
