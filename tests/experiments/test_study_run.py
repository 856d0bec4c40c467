"""Experiments: which images, which folds, and one whole study on phantoms."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from covid_monai.cli.main import app
from covid_monai.datasets.datalist import read_datalist
from covid_monai.evaluation.metrics.prediction_table import read_predictions, write_predictions
from covid_monai.experiments import pooled_results, study_run
from covid_monai.experiments.pooled_results import compute_pooled_metrics
from covid_monai.experiments.study import read_study
from covid_monai.phantoms.dataset import write_phantoms

ROOT = Path(__file__).parents[2]
TRAIN_CONFIG = ROOT / "bundles" / "covid_cxr_classification" / "configs" / "train.yaml"


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


def _guess(folds, folder, *_):
    """Score the test images of each fold without a network."""
    for name, path in folds.items():
        datalist = read_datalist(path)
        rows = [
            {**record, "split": "test", "probabilities": [0.5, 0.3, 0.2]}
            for record in datalist.records("test")
        ]
        write_predictions(folder / name / "evaluation" / "predictions.csv", rows, datalist.class_names)
    return [folder / name for name in folds]


@pytest.mark.slow
def test_folds_by_image_are_told_with_intervals_over_patients_and_never_mixed(tmp_path, monkeypatch):
    write_phantoms(tmp_path / "own", patients=24, size=128, ct=False, image_format="png")
    content = json.loads((tmp_path / "own" / "datalist.json").read_text())
    items = [item for split in ("training", "validation", "test") for item in content[split]]
    owner = {Path(item["image"]).name: f"p{number // 3}" for number, item in enumerate(items)}
    rows = [
        f"{item['image']},{content['labels'][str(item['label'])]},{owner[Path(item['image']).name]}"
        for item in items
    ]
    (tmp_path / "own" / "labels.csv").write_text("\n".join(["image,label,patient", *rows]))
    (tmp_path / "study.yaml").write_text(
        "study: {title: T, sources: [[csv, own]], protocol: folds, folds: 2, differs: [smaller]}\n"
    )
    monkeypatch.setattr(study_run, "_run_folds", _guess)
    monkeypatch.setattr(pooled_results, "Bundle", lambda _: SimpleNamespace(operating_point=None))

    def result(protocol, output):
        study = read_study(tmp_path / "study.yaml", protocol=protocol)
        paths = {"data_dir": tmp_path, "output": tmp_path / output, "train_config": TRAIN_CONFIG}
        return study_run.run_study(study, **paths)

    by_patient, by_image = result(None, "a"), result("folds_by_image", "b")
    assert "leak on purpose" in by_image["differs"][0]
    assert "leak" not in by_patient["differs"][0]
    assert by_image["differs"][1:] == by_patient["differs"][1:] == ("smaller",)
    for found, divided in ((by_patient, False), (by_image, True)):
        metrics = found["variants"]["default"]
        patients = metrics["bootstrap"]["patients"]
        assert metrics["n"] == len(items)
        assert patients == by_patient["variants"]["default"]["bootstrap"]["patients"]
        assert 3 < patients <= len({*owner.values()})  # copies join some
        for path in Path(found["datalist"]).glob("folds/*.json"):
            fold = json.loads(path.read_text())
            seen, tested = (
                {owner[Path(item["image"]).name] for item in fold[split]} for split in ("training", "test")
            )
            assert bool(seen & tested) == divided
    with pytest.raises(ValueError, match="has other images, as of another protocol"):
        result("folds_by_image", "a")
