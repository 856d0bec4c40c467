"""Pictures show the numbers that scikit-learn gives."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from covid_monai.evaluation.report.plots import (
    figure_to_png,
    plot_confusion_matrix,
    plot_decision_curve,
    plot_precision_recall,
    plot_predictive_values,
    plot_reliability,
    plot_roc,
)


def test_roc_figure_draws_scikit_learns_curve_and_the_decisions():
    rng = np.random.default_rng(0)
    labels, scores = np.arange(60) % 2, rng.random(60)
    figure = plot_roc(labels, np.column_stack([1 - scores, scores]), ["no", "yes"], decisions=scores >= 0.5)
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
        for text in plot_roc(labels, scores, ["normal", "pneumonia", "covid"])
        .axes[0]
        .get_legend()
        .get_texts()
    ]
    assert texts[-1] == "covid: no curve, n = 0 against 3"


def test_confusion_figure_shows_counts_and_shares():
    figure = plot_confusion_matrix([[3, 1], [0, 0]], ["no", "yes"], title="Test")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["3\n75.0 %", "1\n25.0 %", "0", "0"]
    picture = Image.open(io.BytesIO(figure_to_png(figure)))
    assert picture.format == "PNG"
    assert min(picture.size) > 300


def test_precision_recall_figure_draws_scikit_learns_curve():
    rng = np.random.default_rng(1)
    labels, scores = np.arange(60) % 2, rng.random(60)
    figure = plot_precision_recall(labels, np.column_stack([1 - scores, scores]), ["no", "yes"])
    curve, share = figure.axes[0].lines
    precision, recall, _ = precision_recall_curve(labels, scores)
    np.testing.assert_array_equal(curve.get_xydata(), np.column_stack([recall, precision]))
    assert share.get_ydata()[0] == 0.5
    assert f"AP {average_precision_score(labels, scores):.3f}" in curve.get_label()


def test_precision_recall_figure_of_an_absent_class_says_so():
    figure = plot_precision_recall([0, 1, 0], np.eye(3)[[0, 1, 0]], ["normal", "pneumonia", "covid"])
    assert figure.axes[0].get_legend().get_texts()[-1].get_text() == "covid: no curve, n = 0"


def test_figures_leave_undefined_values_out():
    gap = {"predicted": 0.5, "observed": None, "low": None, "high": None, "n": 0}
    bins = [{"predicted": 0.1, "observed": 0.2, "low": None, "high": 0.3, "n": 4}, gap]
    axes = plot_reliability({"covid": bins}).axes[0]
    assert axes.lines[1].get_xydata().tolist() == [[0.1, 0.2]]
    undefined = {"value": None, "low": None, "high": None}
    values = [{"prevalence": 0.01, "ppv": undefined, "npv": {"value": 0.9, "low": 0.8, "high": 1.0}}] * 2
    assert np.isnan(plot_predictive_values(values).axes[0].lines[0].get_ydata()).all()
    curve = {"threshold": [0.1, 0.5], "model": [0.2, None], "treat_all": [0.1, -9.0]}
    axes = plot_decision_curve(curve | {"low": [0.1, None], "high": [0.3, None]}).axes[0]
    assert axes.get_ylim()[0] > -0.1  # acting on all falls far below; what matters must stay visible
    assert len(figure_to_png(axes.figure)) > 1000
