"""Pictures of a test as matplotlib Figures, made without pyplot: no global state, no display needed."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score, roc_curve

# Okabe and Ito: told apart by colour-blind readers too. Line styles tell them apart in grey print.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_STYLES = ("-", "--", "-.", ":")


def roc_figure(
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
    figure = Figure(figsize=(4.8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (1, 2)), label="chance (AUROC 0.5)")
    for i, k in enumerate(range(len(class_names)) if len(class_names) > 2 else [1]):
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
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title=title)
    axes.grid(color="0.9")
    axes.legend(
        loc="lower right", fontsize="small", title=None if decisions is None else "dot: operating point"
    )
    return figure


def confusion_figure(
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


def png_bytes(figure: Figure, *, dpi: int = 150) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
