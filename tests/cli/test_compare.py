"""The command `compare`: its table and its JSON file."""

import json

from evaluation_helpers import NAMES, rows
from typer.testing import CliRunner

from covid_monai.cli.compare import compare
from covid_monai.evaluation.metrics.prediction_table import write_predictions


def test_compare_prints_a_table_and_writes_json(tmp_path):
    import typer

    paths = []
    for i, sharpness in enumerate((0.5, 3)):
        part = rows(80, sharpness=sharpness)
        table = [
            {
                "image": part.images[r],
                "split": "test",
                "patient": part.patients[r],
                "source": "ab"[r % 2],
                "label": part.labels[r],
                "probabilities": part.probabilities[r],
            }
            for r in range(80)
        ]
        write_predictions(tmp_path / f"{i}.csv", table, NAMES)
        paths.append(str(tmp_path / f"{i}.csv"))
    app = typer.Typer()
    app.command()(compare)
    output = tmp_path / "comparison.json"
    result = CliRunner().invoke(app, [*paths, "--output", str(output), "--resamples", "100"])
    assert result.exit_code == 0, result.output
    assert "AUROC" in result.output
    assert "most probable class" in result.output
    whole = json.loads(output.read_text())
    assert whole["metrics"]["auroc"]["difference"]["low"] > 0

    part = ["--output", str(output), "--resamples", "100", "--source"]
    result = CliRunner().invoke(app, [*paths, *part, "a", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads(output.read_text())
    assert json.loads(output.read_text())["images"] == whole["images"] / 2
    result = CliRunner().invoke(app, [*paths, *part, "c"])
    assert "Unknown source 'c'. Choose one of: a, b." in str(result.exception)
