"""A table of predictions of a plausible model, for the tests of the evaluation."""

import numpy as np
from scipy.special import softmax

from covid_monai.evaluation.metrics.prediction_table import PredictionTable

NAMES = ("normal", "pneumonia", "covid")
FEW = {"resamples": 100}
PROVENANCE = {
    "model": {"name": "covid_cxr_classification", "version": "0.1.0"},
    "datalist": "datalist.json",
    "datalist_digest": "sha256:aa",
    "command": "covid-monai evaluate",
}
CONTROLS = {
    "sentence": "With the lungs hidden it still reaches AUROC 0.91: it does not need them.",
    "shortcut": True,
    "rows": [{"input": "lungs hidden", "auroc": {"value": 0.91, "low": 0.85, "high": 0.95}}],
}


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


def make_rows(split, n, *, names=NAMES, source=lambda _label, i: f"hospital {i % 2}", seed=0, patient=None):
    """Yield rows of `predictions.csv` with the texts that a reader knows."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        label = i % len(names)
        weights = np.exp(2 * rng.normal(size=len(names)) + 4 * np.eye(len(names))[label])
        yield {
            "image": f"{split}/{i}.png",
            "split": split,
            "patient": patient or f"{split}-{i // len(names)}",
            "source": source(label, i // len(names)),
            "label": label,
            "probabilities": weights / weights.sum(),
        }


def make_explanation(names=NAMES):
    """Heat maps as `evaluate_heatmaps` returns them, with one wrong case in the gallery."""
    # Here, because tests without torch and MONAI use the other functions of this module.
    from covid_monai.evaluation.report.gallery import image_uri, overlay_uri
    from covid_monai.evaluation.shortcuts.saliency import summarise_lung_share, summarise_randomisation

    image, heat = np.linspace(0, 1, 4096).reshape(64, 64), np.eye(64)
    region = heat > -1
    shares, patients = [0.4, 0.6, 0.7, 0.5], list("abcd")
    case = {"image": "folder/very/long/path/image.png", "truth": names[0], "decision": names[1]}
    case |= {"probability": 0.9, "right": False, "picture": image_uri(image)}
    return {
        "layer": "layer4",
        "grid": [4, 4],
        "gallery": [case | {"heatmap": overlay_uri(image, heat, region)}],
        "saliency": summarise_lung_share(shares, [0.4] * 4, [0, 0, 1, 1], patients, names),
        "randomisation": summarise_randomisation([None, (0.1, 0.2), (0.0, 0.1)], list("abc"), draws=1),
    }
