"""Backends say what PyTorch says; converted networks are kept, and never taken for others."""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from backend_helpers import CPU, SHIPPED, expected, load, network_inputs, small_bundle
from PIL import Image

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import CheckpointError, save_checkpoint
from covid_monai.bundle.safe_config import UntrustedCode
from covid_monai.inference.backends import choose_backend
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.decision import compute_probabilities


@pytest.mark.parametrize("name", ["torch", "openvino", pytest.param("onnxruntime", marks=pytest.mark.slow)])
def test_every_backend_says_what_the_network_says(bundle, name):
    found = load(name, bundle)(network_inputs())
    np.testing.assert_allclose(found, expected(bundle, network_inputs()), atol=1e-4)


@pytest.mark.parametrize("name", ["torch", "openvino", "onnxruntime"])
def test_no_backend_takes_weights_that_are_not_finite(name, tmp_path):
    bundle = small_bundle(tmp_path)
    network = bundle.build_network()
    network.fc.weight.data[0, 0] = torch.nan
    save_checkpoint(bundle.checkpoint(network), bundle.checkpoint_path)
    with pytest.raises(CheckpointError, match=r"not a number, in fc\.weight"):
        load(name, bundle)


@pytest.mark.slow
def test_other_weights_are_another_network(bundle, tmp_path):
    load("openvino", bundle)
    other = small_bundle(tmp_path, seed=1)
    assert other.network_digest != bundle.network_digest
    np.testing.assert_allclose(
        load("openvino", other)(network_inputs()), expected(other, network_inputs()), atol=1e-4
    )


def test_the_best_that_is_there_is_taken(monkeypatch):
    assert choose_backend(None, CPU) == "openvino"
    assert choose_backend(None, torch.device("cuda")) == "torch"
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert choose_backend(None, CPU) == "onnxruntime"
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert choose_backend(None, CPU) == "torch"


def test_a_missing_extra_is_named(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r"openvino is not installed: pip install 'covid-monai\[fast\]'"):
        Classifier(bundle.root, backend="openvino")


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("tensorrt", "cpu", "Unknown backend 'tensorrt'. Choose one of: openvino, onnxruntime, torch"),
        ("openvino", "cuda", "'openvino' does not run on cuda. Choose torch, or the device cpu"),
    ],
)
def test_what_does_not_go_together_is_refused(name, device, message):
    with pytest.raises(ValueError, match=message):
        choose_backend(name, torch.device(device))


def test_the_record_says_what_computed_it(bundle, tmp_path, run):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96), np.uint8)).save(tmp_path / "a.png")
    command = ("predict", "--bundle", bundle.root, tmp_path / "a.png", "--backend")
    rows = [json.loads(run(*command, name, "--json")[1]) for name in ("openvino", "torch")]
    assert [row["model"]["backend"] for row in rows] == ["openvino", "torch"]
    assert not any("precision" in row["model"] for row in rows)
    assert rows[0]["probabilities"] == pytest.approx(rows[1]["probabilities"], abs=3e-6)
    code, _, message = run(*command, "abacus")
    assert (code, "Unknown backend 'abacus'" in message) == (2, True)


def test_heat_maps_can_be_made_after_an_unpacked_bundle_is_gone(bundle, tmp_path):
    copy, image = shutil.copytree(bundle.root, tmp_path / "unpacked"), tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96), np.uint8)).save(image)
    classifier = Classifier(copy, device="cpu")
    classifier.load_explainer()
    shutil.rmtree(copy)
    (prediction,) = classifier.predict([image])
    assert prediction.ok
    assert classifier.explain(image, "covid").heat.shape == (64, 64)


def test_the_caller_keeps_its_threads(bundle, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96), np.uint8)).save(tmp_path / "a.png")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        list(Classifier(bundle.root, device="cpu").predict([tmp_path / "a.png"]))
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# -- real images --


@pytest.fixture(scope="module")
def real_images(real_data):
    """Forty preprocessed images of each class and collection."""
    folders = (
        *("chest_xray/test/NORMAL", "darkcovidnet/No_findings", "chest_xray/test/PNEUMONIA"),
        *("darkcovidnet/Pneumonia", "covid-cxnet/covid19"),
    )
    paths = [path for folder in folders for path in sorted((real_data / folder).iterdir())[:40]]
    preprocessing = Bundle(SHIPPED).preprocessing
    return np.stack([preprocessing({"image": str(path)})["image"].numpy() for path in paths])


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_backends_agree_on_real_images(real_images, name):
    bundle = Bundle(SHIPPED)
    found, reference = (
        compute_probabilities(logits, bundle.calibration)
        for logits in (load(name, bundle)(real_images), expected(bundle, real_images))
    )
    assert np.abs(found - reference).max() <= 1e-5
    np.testing.assert_array_equal(found.argmax(axis=1), reference.argmax(axis=1))


def test_a_network_that_needs_code_is_refused_although_it_was_converted_before(tmp_path):
    bundle = small_bundle(tmp_path)
    config = bundle.root / "configs" / "inference.yaml"
    config.write_text(config.read_text().replace("networks.build_network", "networks.build.build_network"))
    load("openvino", Bundle(bundle.root, trust_code=True))
    with pytest.raises(UntrustedCode, match="network_def::_target_"):
        load("openvino", Bundle(bundle.root))
