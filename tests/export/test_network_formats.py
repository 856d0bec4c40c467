"""The network as TorchScript and as ONNX, and the comparison with the checkpoint."""

import json
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from backend_helpers import small_bundle
from export_helpers import repacked
from monai.data import load_net_with_metadata
from PIL import Image

from covid_monai.bundle import Bundle
from covid_monai.export import network_formats, verify_bundle
from covid_monai.export.network_formats import (
    ParityError,
    check_parity,
    load_parity_images,
    write_torchscript,
)

SHIPPED = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"


@pytest.mark.slow
def test_onnx_runtime_and_torchscript_say_what_the_checkpoint_says(folder):
    bundle = Bundle(folder)
    images = next(load_parity_images(bundle))[:5]
    with torch.inference_mode():
        expected = bundle.load_network()(images)
        script = torch.jit.load(folder / "models" / "model.ts")(images)
    onnx.checker.check_model(folder / "models" / "model.onnx", full_check=True)
    session = onnxruntime.InferenceSession(folder / "models" / "model.onnx")
    (logits,) = session.run(["pred"], {"image": images.numpy()})
    assert torch.allclose(script, expected, atol=1e-4)
    assert np.allclose(logits, expected.numpy(), atol=1e-4)


@pytest.mark.slow
def test_an_exported_form_of_another_network_is_found(folder):
    network = Bundle(folder).build_network().eval()
    torch.jit.trace(network, torch.zeros(2, 1, 128, 128)).save(folder / "models" / "model.ts")
    with pytest.raises(ValueError, match=r"by more than 0\.0001: models/model\.ts by"):
        verify_bundle(repacked(folder))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A small bundle whose exported forms are its own network, so that nothing has to be converted."""
    bundle = small_bundle(tmp_path_factory.mktemp("bundle"))
    network = bundle.load_network()
    torch.jit.trace(network, torch.zeros(2, 1, 64, 64)).save(bundle.root / "models" / "model.ts")
    return bundle


@pytest.fixture
def onnx_says(bundle, monkeypatch):
    """Let ONNX give the logits of the checkpoint, changed by a function."""

    def say(change):
        network = bundle.load_network()
        monkeypatch.setattr(network_formats, "load_onnx", lambda _: lambda images: change(network(images)))

    return say


def test_forms_of_the_same_network_agree_on_twelve_phantoms(bundle, onnx_says):
    onnx_says(lambda logits: logits)
    count, differences = check_parity(bundle)
    assert count == 12
    assert set(differences) == {"model.ts", "model.onnx"}
    assert max(differences.values()) < 1e-5


@pytest.mark.slow
def test_given_images_are_compared_too(bundle, onnx_says, tmp_path):
    onnx_says(lambda logits: logits)
    for number in range(3):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (90, 80), np.uint8)).save(
            tmp_path / f"{number}.png"
        )
    (tmp_path / "notes.txt").write_text("no image")
    assert check_parity(bundle, [tmp_path])[0] == 15
    assert [tuple(batch.shape) for batch in load_parity_images(bundle, [tmp_path])] == [(15, 1, 64, 64)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [lambda logits: logits + torch.tensor([0.1, 0, 0]), lambda logits: logits * torch.nan]
)
def test_a_form_that_differs_or_is_no_number_is_named(bundle, onnx_says, change):
    onnx_says(change)
    with pytest.raises(
        ParityError, match=r"more than 0\.0001: models/model\.onnx by \S+\. Export the bundle again"
    ) as error:
        check_parity(bundle)
    assert "model.ts" not in str(error.value)


@pytest.mark.slow
def test_a_difference_that_is_the_same_for_all_classes_changes_no_probability(bundle, onnx_says):
    onnx_says(lambda logits: logits + 3)
    assert check_parity(bundle)[1]["model.onnx"] < 1e-5


def test_torchscript_has_metadata_and_config_inside_and_no_path_of_this_machine(bundle, tmp_path):
    write_torchscript(bundle, tmp_path / "a.ts")
    content = (tmp_path / "a.ts").read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in content
    network, metadata, extra = load_net_with_metadata(
        str(tmp_path / "a.ts"), more_extra_files=("inference.json",)
    )
    assert metadata["name"] == bundle.metadata["name"]
    assert "network_def" in json.loads(extra["inference.json"])
    images = torch.rand(3, 1, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(network.eval()(images), bundle.load_network()(images), atol=1e-5)


def test_what_cannot_be_exported_is_told_with_the_cause(bundle, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "x" * 1000 + "no such layer\n")
    monkeypatch.setattr(network_formats.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match=r"cannot be exported.*no such layer$") as error:
        network_formats.write_formats(bundle)
    assert len(str(error.value)) < 700
