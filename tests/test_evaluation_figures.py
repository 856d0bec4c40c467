"""Pictures show the numbers that scikit-learn gives."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from covid_monai.evaluation.figures import confusion_figure, png_bytes, roc_figure


def test_roc_figure_draws_scikit_learns_curve_and_the_decisions():
    rng = np.random.default_rng(0)
    labels, scores = np.arange(60) % 2, rng.random(60)
    figure = roc_figure(labels, np.column_stack([1 - scores, scores]), ["no", "yes"], decisions=scores >= 0.5)
    axes = figure.axes[0]
    _, curve, dot = axes.lines
    assert np.trapezoid(curve.get_ydata(), curve.get_xdata()) == pytest.approx(roc_auc_score(labels, scores))
    assert dot.get_ydata()[0] == np.mean(scores[labels == 1] >= 0.5)
    assert "n = 30 against 30" in curve.get_label()
    assert "specificity" in axes.get_xlabel()


def test_roc_figure_of_an_absent_class_says_so():
    labels, scores = [0, 1, 0], np.eye(3)[[0, 1, 0]]
    texts = [
        text.get_text()
        for text in roc_figure(labels, scores, ["normal", "pneumonia", "covid"])
        .axes[0]
        .get_legend()
        .get_texts()
    ]
    assert texts[-1] == "covid: no curve, n = 0 against 3"


def test_confusion_figure_shows_counts_and_shares():
    figure = confusion_figure([[3, 1], [0, 0]], ["no", "yes"], title="Test")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["3\n75.0%", "1\n25.0%", "0", "0"]
    picture = Image.open(io.BytesIO(png_bytes(figure)))
    assert picture.format == "PNG"
    assert min(picture.size) > 300
