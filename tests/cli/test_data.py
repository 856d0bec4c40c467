"""`covid-monai data phantom` and `data prepare` as a person meets them."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from dataset_helpers import write_copies, write_image
from phantom_helpers import records, stored_image
from typer.testing import CliRunner

from covid_monai.cli.data import app
from covid_monai.datasets.datalist import read_datalist
from covid_monai.phantoms.radiograph import plant_marker


def test_marker_can_be_asked_for_on_the_command_line(tmp_path):
    options = ["--patients", "9", "--size", "64", "--format", "png", "--no-ct", "--marker", "pneumonia"]
    result = CliRunner().invoke(app, ["phantom", str(tmp_path / "set"), *options])
    assert result.exit_code == 0, result.output
    for record in records(tmp_path / "set"):
        image = stored_image(Path(record["image"]))
        assert np.array_equal(image, plant_marker(image)) == (record["label"] == 1)


def test_prepare_says_what_it_dropped_and_grouped(tmp_path):
    copies = write_copies(tmp_path / "copies")
    command = ["prepare", "folder", str(copies), "--output", str(tmp_path / "list.json")]
    dropped = CliRunner(env={"COLUMNS": "200"}).invoke(app, command)
    assert dropped.exit_code == 0, dropped.output
    assert "Contradicting labels: 3 images with more than one class, left out." in dropped.output
    assert "--label-conflicts keep" in dropped.output
    assert "9 │ contradicting labels" in dropped.output
    command += ["--label-conflicts", "keep"]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "same pixels as a file that is kept" in result.output
    assert "Duplicates: 6 images in 3 groups of the same image" in result.output
    assert "Left out: 3 exact copies." in result.output
    assert "Contradicting labels: 3 images with more than one class, kept:" in result.output
    assert "normal/small2.jpg (normal)" in result.output


def test_prepare_prints_effective_patients_and_says_whose_hospital_is_divided(tmp_path):
    """Reference: (sum n)^2 / sum n^2 of the patients' images, from the datalist that was written."""
    rows = [
        f"{write_image(tmp_path / f'{i}.png', i).name},{'normal' if i % 2 else 'covid'},"
        f"P{i % 2}{min(i // 2, 9)},{'St Mary' if i < 36 else ''}"
        for i in range(40)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label,patient,hospital", *rows]))
    command = ["prepare", "csv", str(tmp_path), "--output", str(tmp_path / "list.json")]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, command)
    assert result.exit_code == 0, result.output
    datalist = read_datalist(tmp_path / "list.json")
    for label in (0, 1):
        images = Counter(r["patient"] for r in datalist.splits["training"] if r["label"] == label)
        effective = sum(images.values()) ** 2 / sum(n**2 for n in images.values())
        assert f"{sum(images.values())} ({effective:.1f})" in result.output
    assert "Hospitals divided by patient: St Mary." in result.output
    assert "the test may be of the hospitals of the training" in result.output
    document = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert document["divided_hospitals"] == ["St Mary"]
    assert document["splits"]["training"]["effective_patients"]["covid"] == round(effective, 1)


def test_prepare_says_that_one_patient_makes_no_validation_and_no_test(tmp_path):
    rows = [
        f"{write_image(tmp_path / f'{i}.png', i).name},{'normal' if i % 2 else 'covid'},P1" for i in range(8)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label,patient", *rows]))
    command = ["prepare", "csv", str(tmp_path), "--output", str(tmp_path / "list.json")]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, command)
    assert result.exit_code == 0, result.output
    for split in ("validation", "test"):
        assert (
            f"The split {split} is empty. All 8 images are of one patient, whom no split divides."
            in result.output
        )
    assert "Next:" not in result.output  # the training would be refused


@pytest.mark.parametrize("treatment", ["error", "kep"])
def test_prepare_stops_for_contradicting_labels_where_it_is_asked_to(tmp_path, treatment):
    copies = write_copies(tmp_path / "copies")
    command = ["prepare", "folder", str(copies), "--output", str(tmp_path / "list.json")]
    result = CliRunner().invoke(app, [*command, "--label-conflicts", treatment])
    assert result.exit_code != 0
    assert not (tmp_path / "list.json").exists()
