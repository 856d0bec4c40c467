"""The weights that come with the repository: complete, small enough, worth their figures on real images."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import covid_monai
from covid_monai.bundle import Bundle
from covid_monai.bundle.config_editing import SHIPPED_SECTION
from covid_monai.bundle.shipped import find_bundle
from covid_monai.core.number_format import format_interval, format_metric
from covid_monai.evaluation.decisions.operating_point import decide
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


def test_classifier_without_a_name_is_the_shipped_bundle_that_predict_uses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    classifier = covid_monai.Classifier()
    assert isinstance(classifier, Classifier)
    assert find_bundle() == BUNDLE
    assert classifier.model["weights_sha256"] == Bundle(BUNDLE).identity["weights_sha256"]
    with pytest.raises(AttributeError, match="has no attribute 'classifier'"):
        covid_monai.classifier  # noqa: B018


def test_model_card_names_the_very_data_that_the_thresholds_were_chosen_on():
    card = (BUNDLE / "docs" / "README.md").read_text()
    section = card.split(SHIPPED_SECTION)[1].split("\n## ")[0]
    chosen_on = Bundle(BUNDLE).operating_point.chosen_on
    assert re.search(rf"\b{chosen_on['n']:,} validation", section)
    assert Bundle(BUNDLE).identity["weights_sha256"][:16] in section


def shipped_metrics():
    return json.loads((BUNDLE / "evaluation" / "metrics.json").read_text())


def test_model_card_and_readme_quote_the_stored_evaluation():
    metrics = shipped_metrics()["test"]

    def quoted(values):
        return " | ".join(f"{format_metric(v['value'])} ({format_interval(v)})" for v in values)

    card = (BUNDLE / "docs" / "README.md").read_text()
    classes = metrics["per_class"].values()
    assert f"| AUROC | {quoted([metrics['auroc'], *(c['auroc'] for c in classes)])} |" in card
    sensitivities = [metrics["balanced_accuracy"], *(c["sensitivity"] for c in classes)]
    assert f"| sensitivity | {quoted(sensitivities)} |" in card
    for title, metric in (
        ("specificity", "specificity"),
        ("PPV in this split", "ppv"),
        ("NPV in this split", "npv"),
    ):
        assert f"| {title} | | {quoted([c[metric] for c in classes])} |" in card
    headline = quoted([metrics["auroc"], metrics["balanced_accuracy"]])
    assert (
        f"| the same collections, divided again: the shipped weights | EfficientNet-Lite0, 96 px "
        f"| 1,117 (664) | {headline} |" in (ROOT / "README.md").read_text()
    )


def test_what_rests_on_few_patients_is_said_wherever_it_is_used():
    bundle, metrics = Bundle(BUNDLE), shipped_metrics()
    for part, key in ((bundle.operating_point, "operating_point"), (bundle.calibration, "calibration")):
        assert metrics[key]["notes"] == list(part.notes)
        for number in re.findall(r"worth \d+\.\d patients \(effective number\)", " ".join(part.notes)):
            assert number in (BUNDLE / "docs" / "README.md").read_text()
            assert number in (ROOT / "README.md").read_text()
    assert set(bundle.operating_point.notes) <= set(metrics["verdict"]["limits"])


def test_no_stored_file_of_the_shipped_bundle_calls_a_disease_while_normal_is_more_probable():
    point = Bundle(BUNDLE).operating_point
    assert decide([[0.59, 0.0, 0.41], [0.42, 0.1, 0.48]], point).tolist() == [0, 2]


def test_stored_predictive_values_are_not_given_as_certain():
    metrics = shipped_metrics()
    for name, rates in metrics["operating_points"][0]["test"].items():
        for metric, found in rates.items():
            assert found == pytest.approx(metrics["test"]["per_class"][name][metric])
    for point in metrics["operating_points"]:
        for rates in point["test"].values():
            for found in (rates["ppv"], rates["npv"]):
                # No share of 664 patients is known better than this.
                error = np.sqrt(found["value"] * (1 - found["value"]) / 664)
                assert found["low"] < found["value"] - 1.5 * error
                assert found["high"] > found["value"] + 1.2 * error


def test_real_dicom_images_get_a_decision_and_one_shown_in_reverse_none(classifier, real_data):
    image = "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"
    names = ("RG1_J2KI.dcm", image, "Fake_MONOHR1.dcm")
    images = list(classifier.predict(real_data / "dicom" / name for name in names))
    assert [image.status.value for image in images] == ["ok", "ok", "refused"]
    assert images[2].reason == "inverted"


@pytest.mark.slow
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
