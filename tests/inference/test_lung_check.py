"""The lungs of each classified image: the shipped lung bundle, loaded once, or no figures at all."""

import logging
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from covid_monai.bundle import shipped
from covid_monai.bundle.bundle import CheckpointError
from covid_monai.bundle.shipped import LUNG_BUNDLE, shipped_bundle
from covid_monai.core.vocabulary import Status
from covid_monai.inference import lung_check as module
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.lung_check import LungCheck
from covid_monai.lungs import LungSegmenter, lung_quality
from covid_monai.phantoms.radiograph import draw_radiograph

CPU = torch.device("cpu")


CHECKOUT_BUNDLE = shipped_bundle(LUNG_BUNDLE)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder in which, and beside which, no bundle is found."""
    monkeypatch.setattr(shipped, "_HOMES", (tmp_path / "a", tmp_path / "b"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_backend_finds_the_lungs_that_the_segmenter_finds():
    image = draw_radiograph("normal", seed=7, size=200)
    expected = lung_quality(LungSegmenter().small_mask(image))
    assert expected.found
    for backend in ("openvino", "torch"):
        found = LungCheck(backend, CPU)(image)
        assert found.areas == pytest.approx(expected.areas, abs=1e-3)
        assert found.cut_off == expected.cut_off


def test_many_threads_load_the_bundle_once(monkeypatch):
    loaded = []
    monkeypatch.setattr(
        module,
        "LungSegmenter",
        lambda *args, **options: loaded.append(args) or LungSegmenter(*args, **options),
    )
    check, images = LungCheck("torch", CPU), [draw_radiograph("covid", seed=n, size=96) for n in range(4)]
    assert len(loaded) == 1  # at the start, so that no image waits and a damaged bundle is named before any
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(check, images))
    assert len(loaded) == 1
    assert found == [check(image) for image in images]


def test_a_damaged_bundle_is_named_before_the_first_image(elsewhere):
    shutil.copytree(CHECKOUT_BUNDLE, elsewhere / LUNG_BUNDLE)
    weights = elsewhere / LUNG_BUNDLE / "models" / "model.pt"
    weights.write_bytes(weights.read_bytes()[:1000])
    for backend in ("openvino", "torch"):
        with pytest.raises(CheckpointError, match=re.escape(f"{weights} is damaged")):
            LungCheck(backend, CPU)


@pytest.mark.usefixtures("elsewhere")
def test_without_the_bundle_there_are_no_figures_and_one_warning(caplog):
    with caplog.at_level(logging.WARNING):
        check = LungCheck("torch", CPU)
        assert [check(np.zeros((64, 64))) for _ in range(3)] == [None] * 3
    assert len([record for record in caplog.records if "checked for lungs" in record.getMessage()]) == 1


def test_a_bundle_in_the_current_folder_is_found(elsewhere):
    shutil.copytree(CHECKOUT_BUNDLE, elsewhere / LUNG_BUNDLE)
    assert LungCheck("torch", CPU)(draw_radiograph("normal", seed=1, size=96)).found


def test_a_classifier_reports_the_lungs_of_the_whole_image_and_refuses_only_with_a_gate(bundle):
    classifier = Classifier(bundle.root, device="cpu", backend="torch")
    image = draw_radiograph("normal", seed=3, size=256)
    whole, none = classifier.predict([image, np.random.default_rng(0).random((128, 128))])
    assert whole.quality["found"]
    assert whole.quality == LungCheck("torch", CPU)(image).to_json()
    assert classifier.gate is None
    assert none.status is Status.OK
    assert not none.quality["found"]
