"""The input gate: what it lets through, what it refuses and why, and that it belongs to its weights."""

import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from gate_helpers import gated_bundle
from PIL import Image

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import CheckpointError, save_checkpoint
from covid_monai.bundle.shipped import find_bundle
from covid_monai.core.vocabulary import RefusalReason, RefusedImage, Status
from covid_monai.gate.descriptor import describe
from covid_monai.gate.gate import Gate
from covid_monai.inference.classifier import Classifier
from covid_monai.lungs import lung_quality


@pytest.fixture(scope="module")
def images(bundle, data) -> list[torch.Tensor]:
    """Test images, preprocessed."""
    files = [record["image"] for record in data.records("test")]
    return [bundle.preprocessing({"image": file})["image"].as_tensor() for file in files]


def refusal(gate: Gate, image: torch.Tensor) -> RefusalReason | None:
    try:
        gate.check(image)
    except RefusedImage as error:
        return error.reason
    return None


def test_images_pass_and_mirrored_images_are_not_taken_for_turned_ones(gate, images):
    assert np.mean([refusal(gate, image) is None for image in images]) >= 0.9
    # Few drawn patients, all with the heart on the left, make mirrored ones unlike. Real images: below.
    reasons = {refusal(gate, image.flip(2)) for image in images}
    assert reasons <= {None, RefusalReason.UNLIKE_TRAINING}


@pytest.mark.real_data
def test_real_images_and_mirrored_ones_pass_the_shipped_gate(real_data):
    bundle = Bundle(find_bundle(None))
    gate = Gate.load(bundle)
    files = [file for kind in ("NORMAL", "PNEUMONIA") for file in _images(real_data, "test", kind)[::3]]
    read = [bundle.preprocessing({"image": str(file)})["image"].as_tensor() for file in files]
    for shown in (read, [image.flip(2) for image in read]):
        assert np.mean([refusal(gate, image) is None for image in shown]) >= 0.95


@pytest.mark.parametrize(("turns", "word"), [(1, "turned to the left"), (2, "upside"), (3, "to the right")])
def test_turned_images_are_refused_as_such(gate, images, turns, word):
    turned = [torch.rot90(image, turns, (1, 2)) for image in images]
    reasons = [refusal(gate, image) for image in turned]
    assert np.mean([reason is RefusalReason.NOT_UPRIGHT for reason in reasons]) >= 0.9
    with pytest.raises(RefusedImage, match=word):
        gate.check(turned[0])


def test_black_and_white_swapped_is_refused_as_such(gate, images):
    reasons = [refusal(gate, -image) for image in images]
    assert np.mean([reason is RefusalReason.INVERTED for reason in reasons]) >= 0.9


@pytest.mark.parametrize("name", ["camera", "astronaut", "page", "coins", "brick"])
def test_photographs_are_unlike_the_images(gate, name):
    picture = torch.from_numpy(getattr(skimage.data, name)() / 255.0).float()
    grey = picture.mean(dim=2) if picture.ndim == 3 else picture
    assert refusal(gate, grey[None, :256, :256]) is RefusalReason.UNLIKE_TRAINING


def test_noise_is_unlike_the_images(gate):
    noise = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert refusal(gate, noise) is RefusalReason.UNLIKE_TRAINING


def test_a_flat_image_is_described_and_refused(gate):
    flat = torch.full((1, 64, 64), 0.3)
    assert np.isfinite(describe(flat)).all()
    assert refusal(gate, flat) is RefusalReason.UNLIKE_TRAINING


@pytest.mark.slow
def test_a_gate_of_other_weights_is_refused(bundle, tmp_path):
    other = bundle.copy_to(tmp_path / "other")
    save_checkpoint(other.checkpoint(other.build_network()), other.checkpoint_path)
    other.gate_path.write_bytes(bundle.gate_path.read_bytes())
    with pytest.raises(CheckpointError, match=r"gate\.npz was fitted for other weights"):
        Classifier(other.root, device="cpu")


def test_a_gate_that_inflates_without_limit_is_not_unpacked(bundle, tmp_path):
    other = bundle.copy_to(tmp_path / "other")
    other.gate_path.parent.mkdir()
    with zipfile.ZipFile(other.gate_path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("plain.npy", bytes(65 * 2**20))
    assert other.gate_path.stat().st_size < 2**17
    with pytest.raises(CheckpointError, match=r"gate\.npz is damaged.*unpacks to more than 64 MiB"):
        Gate.load(other)


@pytest.mark.parametrize("damage", [b"", b"no gate", None])
def test_a_damaged_gate_is_refused(bundle, tmp_path, damage):
    other = bundle.copy_to(tmp_path / "other")
    other.checkpoint_path.parent.mkdir()
    other.checkpoint_path.write_bytes(bundle.checkpoint_path.read_bytes())
    whole = bundle.gate_path.read_bytes()
    other.gate_path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with pytest.raises(CheckpointError, match=r"gate\.npz is damaged, or is not an input gate"):
        Gate.load(other)


def test_a_gate_holds_no_code(bundle, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "pwned",))

    other = bundle.copy_to(tmp_path / "other")
    other.gate_path.parent.mkdir()
    with other.gate_path.open("wb") as file:
        np.savez(file, plain=np.array([Evil()], dtype=object))
    with pytest.raises(CheckpointError):
        Gate.load(other)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.slow
def test_the_classifier_refuses_what_the_gate_refuses(bundle, data, tmp_path):
    image = data.records("test")[0]["image"]
    Image.open(image).transpose(Image.Transpose.ROTATE_180).save(tmp_path / "turned.png")
    Image.fromarray(skimage.data.camera()).save(tmp_path / "camera.png")
    classifier = Classifier(bundle.root, device="cpu")
    good, turned, camera = classifier.predict([image, tmp_path / "turned.png", tmp_path / "camera.png"])
    assert good.ok
    # "phantom" is no collection that `data prepare` knows, so the bundle holds a number for it.
    assert classifier.gate.sources.names == ("source 1",)
    assert good.source_shift["nearest"] == "source 1"
    assert good.source_shift["like_training"]
    assert (turned.status, turned.reason) == (Status.REFUSED, "not_upright")
    assert (camera.status, camera.reason) == (Status.REFUSED, "unlike_training")
    for record in (turned, camera):
        assert record.detail
        assert record.predicted_class is record.probabilities is record.decision is None
        assert record.source_shift is None


def test_an_image_without_lungs_is_refused_and_one_whose_lungs_are_cut_off_is_not(bundle, data, monkeypatch):
    image, classifier = data.records("test")[0]["image"], Classifier(bundle.root, device="cpu")
    mask = np.zeros((64, 64))
    monkeypatch.setattr(classifier, "lung_check", lambda _: lung_quality(mask))
    (record,) = classifier.predict(image)
    assert (record.status, record.reason) == (Status.REFUSED, "no_lungs")
    assert record.detail.endswith("No lungs were found in the image. Give a frontal chest radiograph.")
    mask[:50, 6:28] = mask[:50, 36:58] = 1
    (record,) = classifier.predict(image)
    assert record.ok
    assert record.quality["cut_off"] == ["top"]


@pytest.mark.slow
def test_a_bundle_without_gate_predicts_and_says_so_once(bundle, data, tmp_path, caplog):
    other = bundle.copy_to(tmp_path / "other")
    save_checkpoint(other.checkpoint(other.build_network()), other.checkpoint_path)
    images = [record["image"] for record in data.records("test")[:3]]
    with caplog.at_level(logging.WARNING, logger="covid_monai"):
        predictions = list(Classifier(other.root, device="cpu").predict(images))
    assert all(prediction.ok and prediction.source_shift is None for prediction in predictions)
    assert len([record for record in caplog.records if "has no input gate" in record.getMessage()]) == 1


@pytest.mark.slow
@pytest.mark.real_data
def test_real_images_pass_and_their_outliers_do_not(real_data, tmp_path):
    train, test = (
        [str(file) for kind in ("NORMAL", "PNEUMONIA") for file in _images(real_data, split, kind)]
        for split in ("train", "test")
    )
    images = [{"image": file} for file in train]
    bundle = gated_bundle(tmp_path / "bundle", images[::2], images[1::2])
    classifier = Classifier(bundle.root, device="cpu")
    passed = [prediction.ok for prediction in classifier.predict(test)]
    assert np.mean(passed) >= 0.95
    turned = []
    for number, file in enumerate(test[::4]):
        for turn in (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270):
            turned.append(tmp_path / f"{number}_{turn}.png")
            Image.open(file).convert("L").transpose(turn).save(turned[-1])
    assert np.mean([prediction.reason == "not_upright" for prediction in classifier.predict(turned)]) >= 0.9
    slices = sorted((real_data / "dicom").glob("*.dcm"))
    chests = ("1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm", "Fake_MONOHR1.dcm")
    for prediction in classifier.predict(file for file in slices if not file.name.startswith("RG1")):
        if Path(prediction.file).name not in chests:
            assert prediction.status is Status.REFUSED, prediction.file


def _images(real_data: Path, split: str, kind: str) -> list[Path]:
    files = sorted((real_data / "chest_xray" / split / kind).iterdir())
    return files[:: len(files) // 100][:100]
