"""The command `compare`: its table and its JSON file, two tables or several of each model."""

import json

import pytest
import typer
from evaluation_helpers import NAMES, rows
from typer.testing import CliRunner

from covid_monai.cli.compare import compare
from covid_monai.evaluation.metrics.prediction_table import write_predictions


def write_table(path, part):
    columns = ("image", "split", "patient", "source", "label", "probabilities")
    sources = ["ab"[r % 2] for r in range(len(part))]
    rows = zip(part.images, part.splits, part.patients, sources, part.labels, part.probabilities, strict=True)
    write_predictions(path, (dict(zip(columns, row, strict=True)) for row in rows), NAMES)
    return str(path)


def run(arguments):
    app = typer.Typer()
    app.command()(compare)
    return CliRunner().invoke(app, [*arguments, "--resamples", "100"])


def test_compare_prints_a_table_and_writes_json(tmp_path):
    paths = [write_table(tmp_path / f"{i}.csv", rows(80, sharpness=s)) for i, s in enumerate((0.5, 3))]
    output = tmp_path / "comparison.json"
    result = run([*paths, "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert "AUROC" in result.output
    assert "most probable class" in result.output
    assert "one seed of each model" in result.output
    assert "Compare within one source: --source NAME." in result.output
    whole = json.loads(output.read_text())
    assert whole["metrics"]["auroc"]["difference"]["low"] > 0

    part = ["--output", str(output), "--source"]
    result = run([*paths, *part, "a", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads(output.read_text())
    assert json.loads(output.read_text())["images"] == whole["images"] / 2
    assert json.loads(output.read_text())["caution"] is None
    result = run([*paths, *part, "c"])
    assert "Unknown source 'c'. Choose one of: a, b." in str(result.exception)


def test_several_seeds_of_each_model_have_the_word_vs_between_them(tmp_path):
    first, second = (
        [write_table(tmp_path / f"{s}-{i}.csv", rows(80, sharpness=s + i / 10)) for i in range(3)]
        for s in (0.5, 3)
    )
    result = run([*first, "vs", *second, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["first_files"], found["second_files"]) == (first, second)
    assert found["metrics"]["auroc"]["difference"]["low"] > 0
    assert "(3 and 3 seeds)" in run([*first, "vs", *second]).output


@pytest.mark.parametrize("arguments", [["a"], ["a", "vs"], ["a", "b", "c"], ["a", "vs", "b", "vs", "c"]])
def test_tables_of_unknown_models_are_refused(arguments):
    assert "which tables are of A and which are of B" in str(run(arguments).exception)
