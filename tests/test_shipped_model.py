"""The weights that come with the repository: complete, small enough, worth their figures on real images."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from covid_monai.bundle import Bundle
from covid_monai.bundle.config_editing import SHIPPED_SECTION
from covid_monai.inference.classifier import Classifier

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "covid_cxr_classification"
MAX_BYTES = 32 * 2**20


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(BUNDLE, device="cpu")


def test_everything_that_belongs_to_the_weights_is_there_and_small():
    bundle = Bundle(BUNDLE)
    assert bundle.class_names == ("normal", "pneumonia", "covid")
    assert bundle.calibration
    assert bundle.operating_point
    assert set(bundle.operating_point.sensitivity_thresholds) == set(bundle.class_names)
    assert sum(path.stat().st_size for path in (BUNDLE / "models").iterdir()) < MAX_BYTES


def test_model_card_names_the_very_data_that_the_thresholds_were_chosen_on():
    card = (BUNDLE / "docs" / "README.md").read_text()
    section = card.split(SHIPPED_SECTION)[1].split("\n## ")[0]
    chosen_on = Bundle(BUNDLE).operating_point.chosen_on
    assert re.search(rf"\b{chosen_on['n']:,} validation", section)
    assert Bundle(BUNDLE).identity["weights_sha256"][:16] in section


def test_real_dicom_images_get_a_decision_and_one_shown_in_reverse_none(classifier, real_data):
    image = "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"
    names = ("RG1_J2KI.dcm", image, "Fake_MONOHR1.dcm")
    images = list(classifier.predict(real_data / "dicom" / name for name in names))
    assert [image.status.value for image in images] == ["ok", "ok", "refused"]
    assert images[2].reason == "inverted"


def test_official_test_images_are_told_apart_and_few_refused(classifier, real_data):
    folders = {"NORMAL": 0, "PNEUMONIA": 1}
    images = [
        (path, label)
        for folder, label in folders.items()
        for path in sorted((real_data / "chest_xray" / "test" / folder).iterdir())[:40]
    ]
    predictions = list(classifier.predict(path for path, _ in images))
    ok = [image.probabilities is not None for image in predictions]
    assert np.mean(ok) >= 0.95
    labels = [label for (_, label), fine in zip(images, ok, strict=True) if fine]
    scores = [1 - image.probabilities["normal"] for image in predictions if image.probabilities]
    assert roc_auc_score(labels, scores) > 0.9
