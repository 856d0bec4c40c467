"""Drawn radiographs: anatomy, no shortcut, and a signal that can be learned."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES
from covid_monai.phantoms.ct_volume import draw_volume
from covid_monai.phantoms.radiograph import draw_radiograph


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    """180 images of as many persons at 128 pixels, and their labels."""
    labels = np.arange(180) % 3
    drawn = [draw_radiograph(DEFAULT_CLASS_NAMES[k], seed=i, size=128) for i, k in enumerate(labels)]
    return np.stack(drawn), labels


def grouped_auroc(features: np.ndarray, labels: np.ndarray, classifier) -> float:
    """Macro AUROC by 5-fold cross-validation; every image here is another person."""
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    probabilities = cross_val_predict(classifier, features, labels, cv=folds, method="predict_proba")
    return roc_auc_score(labels, probabilities, multi_class="ovr")


def linear():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


def block_means(images: np.ndarray, block: int) -> np.ndarray:
    count, height, width = images.shape
    return images.reshape(count, height // block, block, width // block, block).mean((2, 4))


@pytest.mark.parametrize("class_name", DEFAULT_CLASS_NAMES)
def test_image_has_the_parts_of_a_chest(class_name):
    for seed in range(5):
        image = draw_radiograph(class_name, seed=seed, size=256)
        lungs = np.concatenate([image[90:130, 70:95].ravel(), image[90:130, 165:190].ravel()])
        assert image[240:, 110:146].mean() > lungs.mean() + 0.15, "the abdomen is brighter than the lungs"
        assert image[90:130, 122:134].mean() > lungs.mean() + 0.15, "and so is the spine"
        assert image[:12, :12].mean() < 0.3, "the upper corner is air"
        assert image[150:165, 148:160].mean() > image[150:165, 84:96].mean(), "the heart lies on the left"


def test_same_person_differs_between_classes_in_the_lungs_only():
    normal, ill = (draw_radiograph(name, seed=11, size=256) for name in ("normal", "pneumonia"))
    changed = np.abs(ill - normal) > 1e-3
    assert changed.mean() > 0.01
    changed[8:-8, 8:-8] = False
    assert not changed.any(), "the border is the same"
    assert (ill - normal).max() > 0.08


def test_opacities_lie_where_the_class_says():
    sides = {"pneumonia": [], "covid": []}
    for name, found in sides.items():
        for seed in range(12):
            gain = draw_radiograph(name, seed=seed, size=128) - draw_radiograph("normal", seed=seed, size=128)
            left, right = np.maximum(gain, 0)[:, :64].sum(), np.maximum(gain, 0)[:, 64:].sum()
            found.append(min(left, right) / max(left, right))
    assert np.median(sides["pneumonia"]) < 0.1, "one lung"
    assert np.median(sides["covid"]) > 0.4, "both lungs"


def test_repeat_is_the_same_person_positioned_anew():
    first, again = (draw_radiograph("covid", seed=4, size=128, repeat=repeat) for repeat in (0, 1))
    other = draw_radiograph("covid", seed=5, size=128)
    assert not np.array_equal(first, again)
    assert np.array_equal(first, draw_radiograph("covid", seed=4, size=128))
    assert not np.array_equal(first, other)


def test_unknown_class_and_tiny_size_are_named():
    with pytest.raises(ValueError, match=r"'flu'.*normal, pneumonia, covid"):
        draw_radiograph("flu", seed=0)
    with pytest.raises(ValueError, match="32 pixels is too small"):
        draw_radiograph("normal", seed=0, size=32)
    with pytest.raises(ValueError, match="'flu'"):
        draw_volume("flu", seed=0)


def test_border_and_global_brightness_are_near_chance(images):
    pixels, labels = images
    blocks = block_means(pixels, 8)
    border = np.ones(blocks.shape[1:], dtype=bool)
    border[1:-1, 1:-1] = False
    brightness = np.stack([pixels.mean((1, 2)), pixels.std((1, 2))], axis=1)
    features = np.concatenate([blocks[:, border], brightness], axis=1)
    assert grouped_auroc(features, labels, linear()) < 0.65
    assert grouped_auroc(brightness, labels, linear()) < 0.65


@pytest.mark.slow
def test_disease_can_be_learned(images):
    pixels, labels = images
    blocks = block_means(pixels, 4)
    mirrored = blocks[:, :, ::-1]
    features = np.concatenate([np.abs(blocks - mirrored), blocks + mirrored], axis=1).reshape(len(labels), -1)
    forest = RandomForestClassifier(100, max_features=0.02, random_state=0)
    assert grouped_auroc(features, labels, forest) > 0.9
