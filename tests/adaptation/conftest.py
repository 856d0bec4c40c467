"""A small bundle, and hospitals that are drawn: as features, and as image files."""

import json

import numpy as np
import pytest
from PIL import Image
from results_helpers import small_classifier

from covid_monai.adaptation.head import Head
from covid_monai.adaptation.site_fit import SiteModel
from covid_monai.adaptation.site_images import SiteImages
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint

NAMES = ("normal", "pneumonia", "covid")


@pytest.fixture
def start():
    """A model whose logits are twice the first three features."""
    sets = {"normal": 0.1, "pneumonia": 0.2, "covid": 0.2}
    head = Head(2.0 * np.eye(3, 12), np.zeros(3))
    return SiteModel(head, Calibration(NAMES, 1.5, sets, 0.9), OperatingPoint.argmax(NAMES), None)


@pytest.fixture
def draw():
    """Images of a hospital: `draw(counts, seed=, shift=)`, where a shift raises covid for everybody."""

    def draw(counts, *, seed=0, shift=0.0):
        rng, labels = np.random.default_rng(seed), np.repeat(np.arange(3), counts)
        features = rng.normal(size=(len(labels), 12))
        features[np.arange(len(labels)), labels] += 2.5
        features[:, 2] += shift
        patients = np.array([f"{seed}-{i}" for i in range(len(labels))])
        return SiteImages(labels, patients, features.astype(np.float32))

    return draw


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A bundle with random weights, without a gate."""
    return small_classifier(tmp_path_factory.mktemp("source") / "bundle").bundle


@pytest.fixture(scope="session")
def hospital(tmp_path_factory):
    """Datalist of 63 normal, 21 pneumonia and 21 covid patients: noise, brighter by class."""
    folder, rng, items = tmp_path_factory.mktemp("hospital"), np.random.default_rng(0), []
    for label, count in enumerate((63, 21, 21)):
        for number in range(count):
            name = f"{label}-{number}.png"
            noise = rng.normal(120 + 20 * label, 40, (72, 72)).clip(0, 255)
            Image.fromarray(noise.astype(np.uint8)).save(folder / name)
            items.append({"image": name, "label": label, "patient": f"Planted-{label}-{number}", "age": 50})
    content = {"labels": dict(zip("012", NAMES, strict=True)), "training": items}
    (folder / "local.json").write_text(json.dumps(content))
    return folder / "local.json"
