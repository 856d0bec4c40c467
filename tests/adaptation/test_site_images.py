"""Which images of a hospital count, and what the network makes of them."""

import json

import numpy as np
import pytest
import torch

from covid_monai.adaptation.site_images import (
    head_of,
    put_head,
    read_folder,
    read_labelled,
    score_images,
)
from covid_monai.inference.classifier import Classifier

NAMES = ("normal", "pneumonia", "covid")


@pytest.fixture(scope="module")
def torch_classifier(source):
    return Classifier(source.root, device="cpu", backend="torch")


def write(folder, hospital, labels, **splits):
    content = {"root": str(hospital.parent), "labels": dict(enumerate(labels)), **splits}
    (folder / "list.json").write_text(json.dumps(content))
    return folder / "list.json"


def item(label, number, patient, **facts):
    return {"image": f"{label}-{number}.png", "label": label, "patient": patient, **facts}


def test_one_image_per_patient_of_adults_without_the_test_split(hospital, tmp_path, torch_classifier):
    labels = ("covid", "normal")  # in another order than the bundle's
    items = [item(0, 0, "a"), item(0, 1, "a"), item(1, 2, "a")]
    items += [item(1, 3, "b", age=12), item(1, 4, "c", age=40)]
    path = write(tmp_path, hospital, labels, training=items, test=[item(0, 9, "z")])
    records, notes = read_labelled(path, NAMES)
    assert [NAMES[record["label"]] for record in records] == ["covid", "covid", "normal", "normal", "normal"]
    assert notes == ["1 images of the test split are left for covid-monai evaluate."]
    images = score_images(records, torch_classifier)
    assert images.patients.tolist() == ["a", "a", "c"]
    assert [NAMES[label] for label in images.labels] == ["covid", "normal", "normal"]
    assert images.left_out == {"further images of a patient": 1, "of children": 1}


def test_the_features_and_the_last_layer_give_the_logits_of_the_network(hospital, torch_classifier):
    records, _ = read_labelled(hospital, NAMES)
    images = score_images(records[:5], torch_classifier)
    pixels = np.stack([torch_classifier.read(record["image"]) for record in records[:5]])
    network = torch_classifier.bundle.load_network()
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels)).numpy()
    head = head_of(network)
    assert head.logits(images.features) == pytest.approx(expected, abs=1e-5)
    put_head(network, head._replace(bias=head.bias + 1))
    with torch.inference_mode():
        assert network(torch.from_numpy(pixels)).numpy() == pytest.approx(expected + 1, abs=1e-5)


def test_a_folder_without_patients_says_so(hospital, tmp_path, torch_classifier):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes((hospital.parent / f"0-{number}.png").read_bytes())
    (tmp_path / "broken.png").write_text("no image")
    records, notes = read_folder(tmp_path, 0)
    assert notes == ["1 file cannot be used."]
    said = " ".join(score_images(records, torch_classifier, notes).notes)
    assert "each image counts as one patient" in said
    assert "Make sure that all images are of adults" in said


def test_a_class_that_the_bundle_does_not_have_is_named(hospital, tmp_path):
    path = write(tmp_path, hospital, ("normal", "tuberculosis"), training=[item(0, 0, "a")])
    with pytest.raises(ValueError, match="class tuberculosis, which the bundle does not have"):
        read_labelled(path, NAMES)


def test_a_folder_without_a_usable_image_names_each_with_its_reason(tmp_path, caplog):
    (tmp_path / "cut.dcm").write_bytes(bytes(128) + b"DICM" + bytes(20))
    with pytest.raises(ValueError, match=r"1 image in .*none can be used"):
        read_folder(tmp_path, 0)
    assert "cut.dcm is not used: unreadable" in caplog.text
    assert all(message.count("cut.dcm") <= 1 for message in caplog.messages)
