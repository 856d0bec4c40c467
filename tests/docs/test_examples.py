"""The worked examples of docs/add-*.md; their commands are run by tests/docs/test_commands.py."""

import csv
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import CheckpointError
from covid_monai.datasets import collections as sources
from covid_monai.inference.grad_cam import HeatmapGenerator
from covid_monai.phantoms.dataset import write_phantoms

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"


def _load(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """A collection as docs/add-dataset.md shows it: images of twelve subjects, a test part, a fracture."""
    root = tmp_path_factory.mktemp("two-towns")
    images = write_phantoms(root / "drawn", patients=18, size=96, image_format="png", ct=False).parent
    (root / "images").mkdir()
    rows = []
    for i, image in enumerate(sorted((images / "images").glob("*.png"))[:24]):
        with Image.open(image) as picture:
            picture.convert("L").save(root / "images" / f"{i:04}.png")
        finding = ("clear", "consolidation", "infiltrate")[i % 3] if i else "fracture"
        part = "test" if i >= 18 else ""
        rows.append([f"{i:04}.png", finding, f"S{i // 2}", part, "pa", "female", "054Y"])
    with (root / "findings.csv").open("w", newline="") as file:
        header = ["image", "finding", "subject", "part", "view", "sex", "age"]
        csv.writer(file).writerows([header, *rows])
    return root


def test_the_source_is_prepared_with_its_patients_its_test_part_and_its_reasons(
    collection, run, tmp_path, monkeypatch
):
    source = _load("dataset_source").SOURCE
    monkeypatch.setitem(sources.SOURCES, source.name, source)
    output = tmp_path / "towns.json"
    # Phantoms of one patient look alike, and the subjects here are not theirs.
    arguments = ("two-towns", collection, "--output", output, "--no-check-duplicates")
    code, out, err = run("data", "prepare", *arguments)
    assert code == 0, out + err
    datalist = json.loads(output.read_text())
    assert list(datalist["labels"].values()) == ["normal", "pneumonia"]
    patients = {
        split: {r["patient"] for r in datalist[split]} for split in ("training", "validation", "test")
    }
    assert patients["test"] == {f"two-towns:S{i}" for i in (9, 10, 11)}
    assert not patients["training"] & patients["validation"]
    (excluded,) = [item for item in datalist["excluded"] if "fracture" in item["reason"]]
    assert excluded["image"].endswith("0000.png")
    record = datalist["test"][0]
    assert (record["view"], record["sex"], record["age"]) == ("PA", "F", 54.0)


def test_the_source_says_what_it_expected(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(FileNotFoundError, match=r"expected findings\.csv and images/; found holiday\.jpg"):
        list(_load("dataset_source").SOURCE.records(tmp_path))


def test_the_network_has_the_parts_that_training_and_heat_maps_ask_for():
    network = _load("plain_network").PlainNetwork(num_classes=3).eval()
    images = torch.rand(2, 1, 64, 64)
    assert network(images).shape == (2, 3)
    assert HeatmapGenerator(network)(images, class_index=1).shape == (2, 64, 64)


def test_the_transform_is_a_power_and_refuses_what_it_cannot_do():
    module = _load("gamma_curve")
    image = np.random.default_rng(0).random((1, 8, 9), dtype=np.float32)
    before = image.copy()
    out = module.GammaCurved("image", gamma=0.8)({"image": image, "label": 2})
    np.testing.assert_allclose(out["image"], before**0.8, rtol=1e-6)
    np.testing.assert_array_equal(image, before)
    assert out["label"] == 2
    assert out["image"].dtype == np.float32
    with pytest.raises(ValueError, match="greater than 0, got -1"):
        module.GammaCurve(gamma=-1)


def test_weights_of_another_preprocessing_are_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    shutil.copytree(ROOT / "bundles" / "covid_cxr_classification", tmp_path / "bundle")
    config = tmp_path / "bundle" / "configs" / "inference.yaml"
    step = (EXAMPLES / "gamma_step.yaml").read_text()
    config.write_text(config.read_text().replace("    upper: 99.0\n", f"    upper: 99.0\n{step}"))
    bundle = Bundle(tmp_path / "bundle")
    assert bundle.preprocessing_contract["steps"][3]["_target_"] == "gamma_curve.GammaCurved"
    with pytest.raises(CheckpointError, match="another preprocessing"):
        bundle.load_network()
