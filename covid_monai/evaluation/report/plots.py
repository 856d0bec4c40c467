"""Pictures of a test as matplotlib Figures, made without pyplot: no global state, no display needed."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

# Okabe and Ito: told apart by colour-blind readers too. Line styles tell them apart in grey print.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_STYLES = ("-", "--", "-.", ":")


def plot_roc(
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    *,
    decisions: ArrayLike | None = None,
    title: str = "ROC",
) -> Figure:
    """ROC curves, one class against the rest; with two classes the second one's only.

    Args:
        labels: Shape [N], true class indices.
        probabilities: Shape [N, K].
        class_names: K names.
        decisions: Shape [N]; if given, a dot marks sensitivity and specificity of these decisions.
        title: What the images are, for example "ROC, test split".

    Returns:
        A square figure. A class without cases, or without others, has a legend entry but no curve.
    """
    truth, scores = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    figure, axes = _square(title)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (1, 2)), label="chance (AUROC 0.5)")
    for i, k in enumerate(_shown_classes(class_names)):
        is_case, colour = truth == k, _COLOURS[i % len(_COLOURS)]
        counts = f"n = {is_case.sum()} against {np.sum(~is_case)}"
        if is_case.all() or not is_case.any():
            axes.plot([], [], color=colour, label=f"{class_names[k]}: no curve, {counts}")
            continue
        fpr, tpr, _ = roc_curve(is_case, scores[:, k], drop_intermediate=False)
        label = f"{class_names[k]}: AUROC {roc_auc_score(is_case, scores[:, k]):.3f}, {counts}"
        axes.plot(fpr, tpr, color=colour, linestyle=_STYLES[i % len(_STYLES)], label=label)
        if decisions is not None:
            decided = np.asarray(decisions) == k
            axes.plot(np.mean(decided[~is_case]), np.mean(decided[is_case]), "o", color=colour, markersize=8)
    axes.set(
        xlabel="1 - specificity (share of others called so)", ylabel="Sensitivity (share of cases found)"
    )
    axes.legend(
        loc="lower right", fontsize="small", title=None if decisions is None else "dot: operating point"
    )
    return figure


def plot_precision_recall(
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    *,
    decisions: ArrayLike | None = None,
    title: str = "Precision and recall",
) -> Figure:
    """Precision-recall curves, one class against the rest; arguments as for `plot_roc`.

    Returns:
        A square figure; a short dotted line at the right edge is each class's share, which guessing
        reaches. A class without cases has a legend entry but no curve.
    """
    truth, scores = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    figure, axes = _square(title)
    for i, k in enumerate(_shown_classes(class_names)):
        is_case, colour = truth == k, _COLOURS[i % len(_COLOURS)]
        if not is_case.any():
            axes.plot([], [], color=colour, label=f"{class_names[k]}: no curve, n = 0")
            continue
        precision, recall, _ = precision_recall_curve(is_case, scores[:, k])
        label = (
            f"{class_names[k]}: AP {average_precision_score(is_case, scores[:, k]):.3f}, n = {is_case.sum()}"
        )
        axes.plot(recall, precision, color=colour, linestyle=_STYLES[i % len(_STYLES)], label=label)
        axes.plot([0.94, 1.02], [is_case.mean()] * 2, color=colour, linestyle=":", linewidth=2)
        decided = np.asarray(decisions) == k if decisions is not None else np.zeros(len(truth), dtype=bool)
        if decided.any():
            axes.plot(np.mean(decided[is_case]), np.mean(is_case[decided]), "o", color=colour, markersize=8)
    axes.set(xlabel="Recall (sensitivity)", ylabel="Precision (PPV in this split)")
    axes.legend(loc="lower left", fontsize="small")
    return figure


def plot_reliability(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], *, title: str = "Reliability"
) -> Figure:
    """Predicted against observed frequency.

    Args:
        curves: Name to bins `{"predicted", "observed", "low", "high", "n"}`; bins with an undefined value
            are left out, `low` and `high` may be None.
        title: What the images are.
    """
    figure, axes = _square(title)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (1, 2)), label="perfect")
    for i, (label, all_bins) in enumerate(curves.items()):
        bins = [b for b in all_bins if b["predicted"] is not None and b["observed"] is not None]
        low = [b["observed"] if b["low"] is None else b["low"] for b in bins]
        high = [b["observed"] if b["high"] is None else b["high"] for b in bins]
        x, y = [b["predicted"] for b in bins], [b["observed"] for b in bins]
        colour = _COLOURS[i % len(_COLOURS)]
        axes.plot(
            x, y, color=colour, linestyle=_STYLES[i % len(_STYLES)], marker="o", markersize=4, label=label
        )
        axes.vlines(x, low, high, color=colour, linewidth=1, alpha=0.6)
    axes.set(xlabel="Probability given by the model", ylabel="Share of images that are so")
    axes.legend(loc="upper left", fontsize="small")
    return figure


def plot_decision_curve(curve: Mapping[str, Any], *, title: str = "Decision curve") -> Figure:
    """Net benefit of acting on the model against acting on all and on nobody.

    Args:
        curve: `threshold`, `model`, `treat_all` and, if known, `low` and `high`: lists of one length; None
            where undefined.
        title: Whom it is about.

    Reference: Vickers and Elkin, Decision curve analysis, Med Decis Making 2006;26:565-574.
    """
    figure = Figure(figsize=(4.8, 3.8), layout="constrained")
    axes = figure.add_subplot()
    t = _floats(curve["threshold"])
    model, treat_all = _floats(curve["model"]), _floats(curve["treat_all"])
    axes.axhline(0, color="0.4", linewidth=1, linestyle=":", label="act on nobody")
    axes.plot(t, treat_all, color=_COLOURS[1], linestyle="--", label="act on all")
    axes.plot(t, model, color=_COLOURS[0], label="act on the model")
    axes.fill_between(
        t, _floats(curve["low"]), _floats(curve["high"]), color=_COLOURS[0], alpha=0.2, linewidth=0
    )
    finite = np.concatenate([model, treat_all, [0.0]])
    top = np.nanmax(finite)
    axes.set(ylim=(-0.15 * max(top, 0.05), 1.1 * max(top, 0.05)), xlim=(0, 1), title=title)
    axes.set(xlabel="Probability from which one would act", ylabel="Net benefit per image")
    axes.grid(color="0.9")
    axes.legend(fontsize="small")
    return figure


def plot_predictive_values(rows: Sequence[Mapping[str, Any]], *, title: str = "Predictive values") -> Figure:
    """PPV and NPV against the prevalence, at the operating point.

    Args:
        rows: Each `{"prevalence", "ppv": {"value", "low", "high"}, "npv": likewise}`; undefined values None.
        title: Which class.
    """
    figure = Figure(figsize=(4.8, 3.8), layout="constrained")
    axes = figure.add_subplot()
    x = _floats([row["prevalence"] for row in rows])
    for i, (key, label) in enumerate((("ppv", "PPV"), ("npv", "NPV"))):
        value, low, high = (_floats([row[key][part] for row in rows]) for part in ("value", "low", "high"))
        axes.plot(x, value, color=_COLOURS[i], linestyle=_STYLES[i], marker="o", markersize=3, label=label)
        axes.fill_between(x, low, high, color=_COLOURS[i], alpha=0.2, linewidth=0)
    axes.set_xscale("log")
    ticks = [tick for tick in (0.001, 0.01, 0.1, 0.5) if x.min() <= tick <= x.max()]
    axes.set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    axes.minorticks_off()
    axes.set(ylim=(-0.02, 1.02), xlabel="How frequent the class is", ylabel="Predictive value", title=title)
    axes.grid(color="0.9")
    axes.legend(fontsize="small", loc="lower right")
    return figure


def plot_confusion_matrix(
    confusion: ArrayLike, class_names: Sequence[str], *, title: str = "Confusion matrix"
) -> Figure:
    """Confusion matrix with counts and the share of each row.

    Args:
        confusion: Shape [K, K], counts; rows are the truth, columns the decision.
        class_names: K names.
        title: What the images are, for example "Confusion matrix, test split".

    Returns:
        A figure; colour shows the share of the row, so that rare classes are seen as well.
    """
    counts = np.asarray(confusion)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side = 3.3 + 0.5 * len(class_names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{counts[row, column]}\n{share:.1%}" if totals[row] else "0"
        axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.5 else "black")
    rows = [f"{name}\n(n = {total})" for name, total in zip(class_names, totals[:, 0], strict=True)]
    axes.set_xticks(range(len(class_names)), class_names)
    axes.set_yticks(range(len(class_names)), rows)
    axes.set(xlabel="Decision", ylabel="Truth", title=f"{title}\n(images, and share of the row)")
    return figure


def _square(title: str) -> tuple[Figure, Any]:
    """An empty figure whose axes both run from 0 to 1."""
    figure = Figure(figsize=(4.8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title=title)
    axes.grid(color="0.9")
    return figure, axes


def _shown_classes(class_names: Sequence[str]) -> Sequence[int]:
    """Every class against the rest; of two classes the second, since the first only mirrors it."""
    return range(len(class_names)) if len(class_names) > 2 else [1]


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def figure_to_png(figure: Figure, *, dpi: int = 150) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
