"""A table of predictions of a plausible model, for the tests of the evaluation."""

import numpy as np
from scipy.special import softmax

from covid_monai.evaluation.metrics.prediction_table import PredictionTable

NAMES = ("normal", "pneumonia", "covid")
FEW = {"resamples": 100}


def rows(n, *, names=NAMES, split="test", seed=0, sharpness=1.5):
    """Images of a plausible model; two of each patient."""
    rng = np.random.default_rng(seed)
    patients = np.arange(n) // 2
    labels = rng.permutation(np.arange(n // 2) % len(names))[patients]
    probabilities = softmax(
        rng.normal(size=(n, len(names))) + sharpness * np.eye(len(names))[labels], axis=1
    ).round(6)
    return PredictionTable(
        names,
        np.array([f"{split}/{i}.png" for i in range(n)]),
        np.full(n, split),
        np.array([f"{split} {p}" for p in patients]),
        np.array(["one", "two"])[patients % 2],
        np.where(patients % 3 == 0, "", "PA"),
        np.array(["F", "M"])[patients // 2 % 2],
        np.where(patients % 5 == 0, np.nan, 20.0 + patients % 60),
        labels,
        probabilities / probabilities.sum(axis=1, keepdims=True),
    )


def predictions(labels, probabilities, patients):
    """Test images of which nothing else is known."""
    n, empty = len(labels), np.full(len(labels), "")
    images, splits = np.arange(n).astype(str), np.full(n, "test")
    ages = np.full(n, np.nan)
    texts = (images, splits, np.asarray(patients).astype(str), empty, empty, empty)
    return PredictionTable(NAMES, *texts, ages, np.asarray(labels), np.asarray(probabilities))
