"""The page shows the figures that the report has numbers for, each with a text alternative."""

import re
from dataclasses import replace

import numpy as np
import pytest
from evaluation_helpers import rows

from covid_monai.evaluation.metrics.prediction_table import write_predictions
from covid_monai.evaluation.report.report_files import write_report


def page_of(folder, names, splits):
    table = rows(40, names=names)
    parts = [replace(table, splits=np.full(40, split)) for split in splits]
    items = [
        {"image": f"{part.splits[i]}/{i}", "split": part.splits[i], "patient": f"{part.splits[i]} {i}"}
        | {"label": part.labels[i], "probabilities": part.probabilities[i]}
        for part in parts
        for i in range(len(part))
    ]
    write_predictions(folder / "predictions.csv", items, names)
    write_report(folder / "predictions.csv", folder, operating_point=None, provenance={})
    return (folder / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "splits", "figures"),
    [
        # Confusion matrix, ROC, precision-recall, reliability, then two figures for each disease.
        (("no", "yes"), ("validation", "test"), 4 + 2),
        (("normal", "pneumonia", "covid"), ("validation", "test"), 4 + 4),
        (("no", "yes"), ("test",), 3 + 2),  # without validation there is no calibration
    ],
)
def test_every_figure_has_a_text_alternative_and_a_caption(tmp_path, names, splits, figures):
    page = page_of(tmp_path, names, splits)
    shown = re.findall(r'<figure><img src="data:image/png;[^"]+" alt="([^"]+)"><figcaption>([^<]+)<', page)
    assert len(shown) == figures
    assert shown[0][0].startswith("Confusion matrix of the test split. Of ")
    assert re.search(r"images, the decisions were: \d+ as \w+, \d+ as", shown[0][0])
    assert re.search(r"AUROC of each class against the rest: \w+ \d\.\d{3};", shown[1][0])
    assert f"PPV and NPV of {names[-1]} against" in shown[-2][0]
