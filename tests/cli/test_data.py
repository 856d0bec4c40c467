"""`covid-monai data phantom` and `data prepare` as a person meets them."""

from pathlib import Path

import numpy as np
from dataset_helpers import write_copies
from phantom_helpers import records, stored_image
from typer.testing import CliRunner

from covid_monai.cli.data import app
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
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "same pixels as a file that is kept" in result.output
    assert "Duplicates: 6 images in 3 groups of the same image" in result.output
    assert "Left out: 3 exact copies." in result.output
    assert "Contradicting labels: 3 images with more than one class" in result.output
    assert "normal/small2.jpg (normal)" in result.output
