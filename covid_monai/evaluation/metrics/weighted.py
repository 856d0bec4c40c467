"""Statistics of weighted images, for many weightings at once: what a bootstrap needs in numbers of thousands.

scikit-learn takes `sample_weight` too, one weighting a call; a thousand resamples of a dozen metrics would
take minutes. The tests hold these against scikit-learn's, one by one.
"""

import numpy as np
from numpy.typing import NDArray

ECE_BINS = 10
# Half of the last of the six decimals that predictions.csv has: its zeros are not certainty.
SMALLEST_PROBABILITY = 5e-7

Floats = NDArray[np.float64]


def weighted_confusion(
    labels: NDArray[np.int64], decisions: NDArray[np.int64], weights: Floats, *, n_classes: int
) -> Floats:
    """Confusion matrices [B, K, K] of images under weights [B, N]; rows are the truth."""
    cells = np.eye(n_classes * n_classes)[labels * n_classes + decisions]
    return (weights @ cells).reshape(-1, n_classes, n_classes)


def ranked(scores: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order of N scores, ascending, and where in it each different score starts."""
    order = np.argsort(scores, kind="stable")
    return order, np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])


def by_score(
    is_case: NDArray[np.bool_],
    scores: Floats,
    weights: Floats,
    *,
    ranking: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> tuple[Floats, Floats]:
    """Weights [B, N] of cases and of others [B, S] at each of S different scores, ascending.

    `ranking` is `ranked(scores)`, for who calls this block after block: sorting each time would take longer
    than the rest.
    """
    order, starts = ranking or ranked(scores)
    both = weights[:, order]
    cases = np.add.reduceat(both * is_case[order], starts, axis=1)
    return cases, np.add.reduceat(both, starts, axis=1) - cases


def weighted_auroc(cases: Floats, others: Floats) -> Floats:
    """Area under the ROC curve [B] of what `by_score` gives; NaN without cases or without others.

    The weighted Mann-Whitney statistic: the share of pairs (case, other) in which the case scores higher,
    ties counting one half.

    >>> weighted_auroc(*by_score(np.array([True, False]), np.array([0.7, 0.2]), np.ones((1, 2))))
    array([1.])
    """
    below = np.cumsum(others, axis=1) - others / 2
    pairs = cases.sum(axis=1) * others.sum(axis=1)
    found = np.einsum("bs,bs->b", cases, below)
    return np.divide(found, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def weighted_average_precision(cases: Floats, others: Floats) -> Floats:
    """Average precision [B] of what `by_score` gives; NaN without cases.

    The mean precision at the cases, as scikit-learn's `average_precision_score`.

    >>> weighted_average_precision(*by_score(np.array([True, False]), np.array([0.2, 0.7]), np.ones((1, 2))))
    array([0.5])
    """
    found = np.cumsum(cases[:, ::-1], axis=1)
    called = found + np.cumsum(others[:, ::-1], axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    total, gained = cases.sum(axis=1), np.einsum("bs,bs->b", cases[:, ::-1], precision)
    return np.divide(gained, total, out=np.full(len(total), np.nan), where=total > 0)


def weighted_ece(
    probabilities: Floats,
    outcomes: NDArray[np.bool_],
    weights: Floats,
    *,
    bins: NDArray[np.int64] | None = None,
) -> Floats:
    """Expected calibration error [B]: mean distance of probability and frequency over ten bins.

    The bins hold equally many images each (by their unweighted quantiles), so that none is empty where the
    network is sure of most images. netcal's `ECE(10, equal_intervals=False)` is the same number.

    Args:
        probabilities: Shape [N], in [0, 1].
        outcomes: Shape [N], whether what was given this probability came true.
        weights: Shape [B, N].
        bins: `equal_mass_bins(probabilities)`, for who calls this block after block.

    Reference: Nguyen and O'Connor, Posterior calibration and exploratory analysis, EMNLP 2015.

    >>> weighted_ece(np.array([0.9, 0.9]), np.array([True, False]), np.ones((1, 2))).round(3)
    array([0.4])
    """
    bins = equal_mass_bins(probabilities) if bins is None else bins
    members = np.eye(bins.max() + 1)[bins] * (outcomes - probabilities)[:, None]
    return np.abs(weights @ members).sum(axis=1) / weights.sum(axis=1)


def equal_mass_bins(probabilities: Floats) -> NDArray[np.int64]:
    """Bin of each of N probabilities, 0 to at most `ECE_BINS` - 1; equal probabilities share one."""
    edges = np.unique(np.quantile(probabilities, np.arange(1, ECE_BINS) / ECE_BINS))
    return np.unique(np.searchsorted(edges, probabilities), return_inverse=True)[1].astype(np.int64)


def squared_errors(labels: NDArray[np.int64], probabilities: Floats) -> Floats:
    """Squared distance [N, K] of each probability to the truth: their half row sum is the Brier score."""
    return (probabilities - np.eye(probabilities.shape[1])[labels]) ** 2


def log_losses(labels: NDArray[np.int64], probabilities: Floats) -> Floats:
    """Negative natural logarithm [N] of the probability of the true class."""
    of_truth = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.maximum(of_truth, SMALLEST_PROBABILITY))
