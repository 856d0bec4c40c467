"""`covid-monai adapt`, from a folder of images to an answer that names the hospital."""

import json

import numpy as np
import pytest
from PIL import Image
from results_helpers import small_classifier


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("adapt"), np.random.default_rng(0)
    small_classifier(folder / "bundle")
    (folder / "images").mkdir()
    for number in range(60):
        noise = rng.integers(0, 256, (72, 72), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{number}.png")
    return folder


@pytest.mark.slow
def test_adapt_then_verify_then_predict(run, places):
    site = places / "site"
    options = ("--bundle", places / "bundle", "--normals", places / "images", "--site", "Clinic A")
    code, out, err = run("adapt", *options, "--output", site, "--device", "cpu")
    assert code == 0, err
    assert "Adapted to Clinic A on 20" in out
    assert "normal patients with the" in out
    assert f"Report: {site}/docs/adaptation.md" in out
    code, out, _ = run("bundle", "verify", site)
    assert code == 0
    assert "is complete. It was not exported, so there are no other forms" in out
    code, out, _ = run("predict", "--bundle", site, "--json", places / "images" / "0.png")
    record = json.loads(out)
    assert "+site." in record["model"]["version"]
    assert "not validated" not in json.dumps(record["cause"])

    code, out, err = run("adapt", *options, "--output", site)
    assert (code, out) == (2, "")
    assert "is not empty" in err


@pytest.mark.slow
def test_without_labels_json_is_the_report(run, places):
    options = ("--unlabelled", places / "images", "--least-share-of-normals", 1, "--json")
    code, out, _ = run("adapt", "--bundle", places / "bundle", *options, "--output", places / "other")
    assert code == 0
    assert json.loads(out) == json.loads((places / "other" / "docs" / "adaptation.json").read_text())
    assert json.loads(out)["adapted"]["cut_set_on"] == "patients without labels"
