"""Fine-tuning of the last layer: multinomial logistic regression that is pulled towards the old weights.

The features stay as they are. Fitted is the change of the last layer's weights, with a penalty on its squared
size, so that few images change little (L2 distance to the start, "L2-SP"). The strength of the
pull is chosen by cross-validation over patients, and the old weights themselves are among the choices.
scikit-learn's `LogisticRegression` pulls towards 0 only; where the old weights are 0 both agree (see tests).

Reference: Li, Grandvalet and Davoine, Explicit inductive bias for transfer learning with convolutional
networks, ICML 2018.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from covid_monai.evaluation.metrics.prediction_table import Floats

STRENGTHS = (10.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # of the pull, the strongest first
MIN_PATIENTS = 10  # of each class; fewer say nothing about a class
_FOLDS = 5


class Head(NamedTuple):
    """Weights of the last layer."""

    weight: Floats  # [K, F]
    bias: Floats  # [K]

    def logits(self, features: Floats) -> Floats:
        """Return the logits [N, K] of features [N, F]."""
        return np.asarray(features @ self.weight.T + self.bias)


class TunedHead(NamedTuple):
    """A fitted last layer, and what it rests on."""

    head: Head
    strength: float | None  # of the pull; None: the old head, because no change helped
    losses: tuple[float, float]  # cross-validated cross-entropy of the old head and of the fitted one


def tune_head(
    old: Head, features: Floats, labels: NDArray[np.int64], patients: NDArray[np.str_], *, seed: int
) -> TunedHead:
    """Fit the last layer with the pull of the lowest cross-validated loss.

    A weaker pull must be better than a stronger one by more than one standard error over the images.
    Classes weigh the same, and so do the images of a class.

    Args:
        old: Weights to start from, and to be pulled to.
        features: Shape [N, F], input of the last layer.
        labels: Shape [N], class indices; every class occurs.
        patients: Shape [N], patient of each image; a fold has all images of a patient.
        seed: Seed of the folds.
    """
    scale = float(np.sqrt(np.mean(np.square(features).sum(axis=1))))  # so that strengths mean the same
    folds = patient_folds(labels, patients, _FOLDS, seed=seed)
    losses = np.empty((len(STRENGTHS) + 1, len(labels)))
    losses[0] = _losses(old.logits(features), labels)
    for number, strength in enumerate(STRENGTHS, start=1):
        for fold in range(_FOLDS):
            out = folds == fold
            head = fit_head(old, features[~out], labels[~out], strength=strength, scale=scale)
            losses[number, out] = _losses(head.logits(features[out]), labels[out])
    weights = _class_weights(labels)
    chosen = 0
    for number in range(1, len(losses)):
        gains = (losses[chosen] - losses[number]) * weights * len(labels)
        if gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)):
            chosen = number
    means = losses @ weights
    if chosen == 0:
        return TunedHead(old, None, (float(means[0]), float(means[0])))
    strength = STRENGTHS[chosen - 1]
    head = fit_head(old, features, labels, strength=strength, scale=scale)
    return TunedHead(head, strength, (float(means[0]), float(means[chosen])))


def fit_head(
    old: Head, features: Floats, labels: NDArray[np.int64], *, strength: float, scale: float
) -> Head:
    """Minimise the cross-entropy plus `strength` / 2 times the squared change, in units of the features.

    Args:
        old: Weights to be pulled to.
        features: Shape [N, F].
        labels: Shape [N], class indices.
        strength: Strength of the pull.
        scale: Typical length of the features; their scale then changes nothing.
    """
    inputs = np.column_stack([features / scale, np.ones(len(features))])
    start, targets = old.logits(features), np.eye(len(old.bias))[labels]
    weights = _class_weights(labels)
    shape = (len(old.bias), inputs.shape[1])

    def loss(flat: Floats) -> tuple[float, Floats]:
        change = flat.reshape(shape)
        logits = start + inputs @ change.T
        errors = (softmax(logits, axis=1) - targets) * weights[:, None]
        value = weights @ _losses(logits, labels) + strength / 2 * np.square(change).sum()
        return float(value), (errors.T @ inputs + strength * change).ravel()

    found = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    change = found.x.reshape(shape)
    return Head(old.weight + change[:, :-1] / scale, old.bias + change[:, -1])


def patient_folds(
    labels: NDArray[np.int64], patients: NDArray[np.str_], folds: int, *, seed: int
) -> NDArray[np.int64]:
    """Return the fold of each image: patients are dealt out class by class, in a random order.

    >>> folds = patient_folds(np.array([0, 0, 0, 1, 1]), np.array(list("abcde")), 2, seed=0)
    >>> sorted(np.bincount(folds).tolist())
    [2, 3]
    """
    rng = np.random.default_rng(seed)
    names, first = np.unique(patients, return_index=True)
    order = rng.permutation(len(names))
    order = order[np.argsort(labels[first][order], kind="stable")]
    fold_of = dict(zip(names[order].tolist(), np.arange(len(names)) % folds, strict=True))
    return np.array([fold_of[name] for name in patients.tolist()])


def _losses(logits: Floats, labels: NDArray[np.int64]) -> Floats:
    return np.asarray(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels])


def _class_weights(labels: NDArray[np.int64]) -> Floats:
    """Return weights that sum to 1, with the same sum for each class that occurs."""
    counts = np.bincount(labels)
    return np.asarray(1 / counts[labels] / np.count_nonzero(counts))
