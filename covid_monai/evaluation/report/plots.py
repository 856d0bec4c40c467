"""Plots of the results of a test, made without pyplot, so that no display and no global state is needed."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from covid_monai.core.number_format import format_percent

# Okabe and Ito: colour-blind readers can distinguish them. The line styles differ too, for print in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_STYLES = ("-", "--", "-.", ":")
_CHANCE: dict[str, Any] = {"color": "0.6", "linewidth": 1, "linestyle": (0, (1, 2))}
_DOT: dict[str, Any] = {"marker": "o", "markersize": 8, "linestyle": "none"}


def plot_roc(
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    *,
    decisions: ArrayLike | None = None,
    title: str = "ROC",
) -> Figure:
    """Plot ROC curves, one class against the rest; with two classes only that of the second.

    A class without cases, or without others, has a legend entry but no curve.

    Args:
        labels: Shape [N], true class indices.
        probabilities: Shape [N, K].
        class_names: K names.
        decisions: Shape [N]; if given, a dot marks sensitivity and specificity of these decisions.
        title: Title of the figure.
    """
    figure, axes = _figure(title)
    axes.plot([0, 1], [0, 1], label="chance (AUROC 0.5)", **_CHANCE)
    for name, is_case, scores, decided, style in _classes(labels, probabilities, class_names, decisions):
        counts = f"n = {is_case.sum()} against {np.sum(~is_case)}"
        if is_case.all() or not is_case.any():
            axes.plot([], [], color=style["color"], label=f"{name}: no curve, {counts}")
            continue
        fpr, tpr, _ = roc_curve(is_case, scores, drop_intermediate=False)
        axes.plot(fpr, tpr, label=f"{name}: AUROC {roc_auc_score(is_case, scores):.3f}, {counts}", **style)
        if decided is not None:
            axes.plot(np.mean(decided[~is_case]), np.mean(decided[is_case]), color=style["color"], **_DOT)
    axes.set(xlabel="1 - specificity (false positive rate)", ylabel="Sensitivity (share of cases found)")
    legend_title = None if decisions is None else "dot: operating point"
    axes.legend(loc="lower right", fontsize="small", title=legend_title)
    return figure


def plot_precision_recall(
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    *,
    decisions: ArrayLike | None = None,
    title: str = "Precision and recall",
) -> Figure:
    """Plot precision-recall curves, one class against the rest; arguments as for `plot_roc`.

    A short dotted line at the right edge marks the share of the class, which guessing reaches.
    """
    figure, axes = _figure(title)
    for name, is_case, scores, decided, style in _classes(labels, probabilities, class_names, decisions):
        if not is_case.any():
            axes.plot([], [], color=style["color"], label=f"{name}: no curve, n = 0")
            continue
        precision, recall, _ = precision_recall_curve(is_case, scores)
        label = f"{name}: AP {average_precision_score(is_case, scores):.3f}, n = {is_case.sum()}"
        axes.plot(recall, precision, label=label, **style)
        axes.plot([0.94, 1.02], [is_case.mean()] * 2, color=style["color"], linestyle=":", linewidth=2)
        if decided is not None and decided.any():
            axes.plot(np.mean(decided[is_case]), np.mean(is_case[decided]), color=style["color"], **_DOT)
    axes.set(xlabel="Recall (sensitivity)", ylabel="Precision (PPV in this split)")
    axes.legend(loc="lower left", fontsize="small")
    return figure


def _classes(
    labels: ArrayLike, probabilities: ArrayLike, class_names: Sequence[str], decisions: ArrayLike | None
) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_] | None, dict[str, Any]]]:
    """Yield each class: name, cases, scores, decisions for it, line style; of two classes only the second."""
    truth, scores = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    for k, name in enumerate(class_names):
        if k or len(class_names) > 2:
            decided = None if decisions is None else np.asarray(decisions) == k
            yield name, truth == k, scores[:, k], decided, _line(k if len(class_names) > 2 else 0)


def _line(index: int) -> dict[str, Any]:
    return {"color": _COLOURS[index % len(_COLOURS)], "linestyle": _STYLES[index % len(_STYLES)]}


def plot_reliability(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], *, title: str = "Reliability"
) -> Figure:
    """Plot predicted against observed frequency; bins of `reliability_bins` without a value are left out."""
    figure, axes = _figure(title)
    axes.plot([0, 1], [0, 1], label="perfect", **_CHANCE)
    for i, (label, all_bins) in enumerate(curves.items()):
        bins = [b for b in all_bins if b["predicted"] is not None and b["observed"] is not None]
        low = [b["observed"] if b["low"] is None else b["low"] for b in bins]
        high = [b["observed"] if b["high"] is None else b["high"] for b in bins]
        x, y = [b["predicted"] for b in bins], [b["observed"] for b in bins]
        axes.plot(x, y, marker="o", markersize=4, label=label, **_line(i))
        axes.vlines(x, low, high, color=_line(i)["color"], linewidth=1, alpha=0.6)
    axes.set(xlabel="Predicted probability", ylabel="Observed frequency")
    axes.legend(loc="upper left", fontsize="small")
    return figure


def plot_decision_curve(curve: Mapping[str, Any], *, title: str = "Decision curve") -> Figure:
    """Plot the net benefit of acting on the model against acting on all and on nobody (`decision_curve`)."""
    keys = ("threshold", "model", "treat_all", "low", "high")
    t, model, treat_all, low, high = (_floats(curve[key]) for key in keys)
    top = max(0.05, np.nanmax(np.concatenate([model, treat_all])))
    figure, axes = _figure(title, xlim=(0, 1), ylim=(-0.15 * top, 1.1 * top))
    axes.axhline(0, color="0.4", linewidth=1, linestyle=":", label="act on nobody")
    axes.plot(t, treat_all, color=_COLOURS[1], linestyle="--", label="act on all")
    axes.plot(t, model, color=_COLOURS[0], label="act on the model")
    axes.fill_between(t, low, high, color=_COLOURS[0], alpha=0.2, linewidth=0)
    axes.set(xlabel="Probability from which one would act", ylabel="Net benefit per image")
    axes.legend(fontsize="small")
    return figure


def plot_predictive_values(rows: Sequence[Mapping[str, Any]], *, title: str = "Predictive values") -> Figure:
    """Plot PPV and NPV at the operating point against the prevalence (result of `predictive_values`)."""
    x = _floats([row["prevalence"] for row in rows])
    ticks = [tick for tick in (0.001, 0.01, 0.1, 0.5) if x.min() <= tick <= x.max()]
    figure, axes = _figure(title, xscale="log", ylim=(-0.02, 1.02))
    for i, (key, label) in enumerate((("ppv", "PPV"), ("npv", "NPV"))):
        value, low, high = (_floats([row[key][part] for row in rows]) for part in ("value", "low", "high"))
        axes.plot(x, value, marker="o", markersize=3, label=label, **_line(i))
        axes.fill_between(x, low, high, color=_COLOURS[i], alpha=0.2, linewidth=0)
    axes.set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="Prevalence of the class", ylabel="Predictive value")
    axes.legend(fontsize="small", loc="lower right")
    return figure


def plot_confusion_matrix(
    confusion: ArrayLike, class_names: Sequence[str], *, title: str = "Confusion matrix"
) -> Figure:
    """Plot a confusion matrix with counts and the share of each row.

    Args:
        confusion: Shape [K, K], counts; rows are the truth, columns the decision. The colour shows the share
            of the row, so that rare classes are visible as well.
        class_names: K names.
        title: First line of the title.
    """
    counts = np.asarray(confusion)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side = 3.3 + 0.5 * len(class_names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{counts[row, column]}\n{format_percent(share)}" if totals[row] else "0"
        axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.5 else "black")
    rows = [f"{name}\n(n = {total})" for name, total in zip(class_names, totals[:, 0], strict=True)]
    axes.set_xticks(range(len(class_names)), class_names)
    axes.set_yticks(range(len(class_names)), rows)
    axes.set(xlabel="Decision", ylabel="Truth", title=f"{title}\n(images, and share of the row)")
    return figure


def _figure(title: str, **settings: Any) -> tuple[Figure, Any]:
    """Make an empty figure; without settings of its axes, it is a square, and both axes run from 0 to 1."""
    square = {"xlim": (-0.02, 1.02), "ylim": (-0.02, 1.02), "aspect": "equal"}
    figure = Figure(figsize=(4.8, 3.8 if settings else 4.8), layout="constrained")
    axes = figure.add_subplot(title=title, **(settings or square))
    axes.grid(color="0.9")
    return figure, axes


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def figure_to_png(figure: Figure) -> bytes:
    """Return the figure as a PNG file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
