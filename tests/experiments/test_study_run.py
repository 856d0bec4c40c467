"""Experiments: which images, which folds, and one whole study on phantoms."""

import csv
import json

import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from covid_monai.cli.main import app
from covid_monai.evaluation.metrics.prediction_table import read_predictions
from covid_monai.experiments.pooled_results import compute_pooled_metrics


@pytest.mark.slow
def test_a_study_runs_whole_and_a_second_call_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns.db")
    runner = CliRunner()
    made = runner.invoke(
        app, f"data phantom {tmp_path}/own --patients 24 --size 128 --no-ct --format png".split()
    )
    assert made.exit_code == 0, made.output
    phantoms = json.loads((tmp_path / "own" / "datalist.json").read_text())
    with (tmp_path / "own" / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "label", "patient"], extrasaction="ignore")
        writer.writeheader()
        for item in phantoms["training"] + phantoms["validation"] + phantoms["test"]:
            writer.writerow(item | {"label": phantoms["labels"][str(item["label"])]})
    (tmp_path / "study.yaml").write_text(
        "network_name: resnet10\nimage_size: 32\nmax_epochs: 1\nbatch_size: 4\n"
        f"cache_dir: {tmp_path}/images\n"
        "study:\n  title: Phantoms\n  sources: [[csv, own]]\n  protocol: folds\n  folds: 2\n"
        "  take:\n  - {class: normal}\n  - {class: covid}\n  classes: [normal, covid]\n"
        "  subsets: {odd ones: '*[13579].png'}\n"
        "  published: {accuracy: 0.9, where: nobody}\n"
    )
    command = ["experiment", str(tmp_path / "study.yaml"), "--data", str(tmp_path)]
    command += ["--output", str(tmp_path / "out")]
    first = runner.invoke(app, command)
    assert first.exit_code == 0, first.output
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    folds = [json.loads(path.read_text()) for path in sorted((tmp_path / "out" / "folds").glob("*.json"))]
    assert len(folds) == 2
    assert result["variants"]["default"]["n"] == sum(len(fold["test"]) for fold in folds)
    pooled = read_predictions(tmp_path / "out" / "default" / "predictions.csv")
    tested = {item["image"] for fold in folds for item in fold["test"]}
    assert set(pooled.splits) == {"test"}
    assert len(pooled) == len(tested)
    assert result["variants"]["default"]["auroc"]["value"] == pytest.approx(
        roc_auc_score(pooled.labels, pooled.probabilities[:, 1])
    )
    patients = dict(zip(pooled.images, pooled.patients, strict=True))
    assert sorted(patients.values()) == sorted(item["patient"] for fold in folds for item in fold["test"])
    odd = result["variants"]["default"]["subsets"]["odd ones"]
    assert (
        odd["n"] == sum(name.endswith(("1.png", "3.png", "5.png", "7.png", "9.png")) for name in tested) > 0
    )
    assert 0 <= odd["accuracy"]["low"] <= odd["accuracy"]["value"] <= odd["accuracy"]["high"] <= 1
    runs = sorted((tmp_path / "out" / "default").glob("0?"))
    with pytest.raises(ValueError, match="no test image matches nothing"):
        compute_pooled_metrics(runs, patients, {"none": "nothing"})
    assert "| accuracy | 0.9 | " in (tmp_path / "out" / "table.md").read_text()
    weights = sorted((tmp_path / "out").rglob("model.pt"))
    times = [path.stat().st_mtime_ns for path in weights]
    again = runner.invoke(app, [*command, "--json"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == result
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result
    leaking = runner.invoke(app, [*command, "--protocol", "folds_by_image"])
    assert "has other images, as of another protocol" in str(leaking.exception)
    command[-1] += " by image"
    leaking = runner.invoke(app, [*command, "--protocol", "folds_by_image", "--json"])
    assert leaking.exit_code == 0, leaking.output
    assert "leak on purpose" in json.loads(leaking.stdout)["differs"][0]
    assert (
        json.loads(leaking.stdout)["variants"]["default"]["bootstrap"]
        == (result["variants"]["default"]["bootstrap"])
    )
