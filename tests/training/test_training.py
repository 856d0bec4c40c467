"""A training run from its config: what it leaves behind, and that a killed one comes back bit for bit."""

import filecmp
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
import yaml
from ignite.engine import Events

from covid_monai.bundle import Bundle
from covid_monai.core.errors import describe_error, exception_chain
from covid_monai.datasets.datalist import read_datalist
from covid_monai.training.tracking import log_evaluation, read_run_id

pytestmark = pytest.mark.usefixtures("store")
ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "covid_cxr_classification" / "configs"
# A network and images small enough for seconds; the same as conftest's `train`.
SMALL_RUN = {
    "network_name": "resnet10",
    "image_size": 64,
    "batch_size": 8,
    "max_epochs": 2,
    "precision": "fp32",
}


def test_the_run_is_a_bundle_with_its_own_settings(run):
    bundle = Bundle(run)
    assert (bundle.network_name, bundle.image_size) == ("resnet10", 64)
    assert bundle.class_names == ("normal", "pneumonia", "covid")
    network = bundle.load_network()
    assert network(torch.zeros(2, 1, 64, 64)).shape == (2, 3)
    assert bundle.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [64, 64]


def test_mlflow_holds_what_a_person_looks_for(run, store):
    client = mlflow.MlflowClient(store)
    tracked = client.get_run(read_run_id(run))
    assert tracked.info.status == "FINISHED"
    params, metrics = tracked.data.params, tracked.data.metrics
    data = read_datalist(run.parent / "datalist.json")
    assert params["network_name"] == "resnet10"
    assert params["datalist_digest"] == data.digest
    assert int(params["training/covid"]) == data.counts()["training"]["covid"]
    assert {
        "val_best/auroc",
        "train/loss",
        "train/learning_rate",
        "train/images_per_second",
        "val/loss",
        "val/auroc",
    } <= metrics.keys()
    assert {
        "val/balanced_accuracy",
        "val/auroc_covid",
        "val/sensitivity_normal",
        "val/specificity_pneumonia",
    } <= metrics.keys()
    assert [m.step for m in client.get_metric_history(tracked.info.run_id, "val/auroc")] == [1, 2]
    assert "not a medical device" in tracked.data.tags["mlflow.note.content"]
    assert tracked.data.tags["git_commit"]
    top = {artifact.path for artifact in client.list_artifacts(tracked.info.run_id)}
    assert {"config", "figures", "models", "environment.txt"} <= top
    figures = {artifact.path for artifact in client.list_artifacts(tracked.info.run_id, "figures")}
    assert figures == {"figures/validation_confusion_matrix.png", "figures/validation_roc.png"}


def test_an_evaluation_joins_the_run_that_trained_the_bundle(run, store):
    assert log_evaluation({"report.html": "a report"}, bundle_root=run, metrics={"auroc": 0.75})
    client = mlflow.MlflowClient(store)
    tracked = client.get_run(read_run_id(run))
    assert tracked.data.metrics["test/auroc"] == 0.75
    assert [a.path for a in client.list_artifacts(tracked.info.run_id, "evaluation")] == [
        "evaluation/report.html"
    ]


def test_an_evaluation_without_its_run_is_not_logged_and_makes_no_store(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    assert not log_evaluation({}, bundle_root=run, metrics={})
    assert not list(tmp_path.iterdir())
    assert not log_evaluation({}, bundle_root=tmp_path, metrics={})


def test_the_resolved_config_shows_overrides_and_defaults(run, store):
    client = mlflow.MlflowClient(store)
    tracked = client.get_run(read_run_id(run))
    text = mlflow.artifacts.load_text(f"{tracked.info.artifact_uri}/config/train_resolved.yaml")
    assert "network_name: resnet10" in text
    assert "learning_rate: 0.001" in text
    assert "output_dir: (not logged)" in text


@pytest.mark.slow
def test_the_resolved_config_shows_nested_overrides(phantoms, train, tmp_path):
    nested = {
        "train::handlers::2::max_norm": 0.25,
        "validate::dataloader::batch_size": 16,
        "lr_scheduler::pct_start": 0.4,  # which OneCycleLR does not keep
        "lr_scheduler::final_div_factor": 100.0,
    }
    train(tmp_path / "nested", phantoms, max_epochs=1, **nested)
    run_id = (tmp_path / "nested" / "mlflow_run_id.txt").read_text()
    text = mlflow.artifacts.load_text(f"runs:/{run_id}/config/train_resolved.yaml")
    config = yaml.safe_load(text)
    assert config["train"]["handlers"][2] == {
        "_target_": "covid_monai.training.handlers.ClipGradients",
        "network": "@network",
        "max_norm": 0.25,
    }
    assert config["validate"]["dataloader"]["batch_size"] == 16
    assert config["train"]["transforms"][4]["rotate_degrees"] == 15.0
    assert config["train"]["trainer"]["max_epochs"] == 1
    schedule = config["lr_scheduler"]
    assert (schedule["pct_start"], schedule["final_div_factor"], schedule["epochs"]) == (0.4, 100.0, 1)
    assert config["network"] == "$@network_def.to(@device, memory_format=torch.channels_last)"
    data = read_datalist(phantoms)
    for record in (item for split in data.splits.values() for item in split):
        assert record["patient"] not in text
        assert Path(record["image"]).name not in text


class _Poison:
    """Stands in a place of the handlers; from an epoch on, the network has a weight that is not a number."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def attach(self, engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED(once=self.epoch), self)

    def __call__(self, engine) -> None:
        next(engine.network.parameters()).data.view(-1)[0] = torch.nan


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_training_that_diverges_says_so_and_leaves_the_best_weights(
    phantoms, train, tmp_path, store, epoch
):
    with pytest.raises(RuntimeError, match="Failed to") as failure:
        train(tmp_path / "run", phantoms, max_epochs=3, **{"train::handlers::1": _Poison(epoch)})
    message, _ = describe_error(failure.value)
    assert f"diverged: in epoch {epoch} the training loss" in message
    assert "--learning_rate" in message
    client = mlflow.MlflowClient(store)
    tracked = client.get_run((tmp_path / "run" / "mlflow_run_id.txt").read_text())
    assert tracked.info.status == "FAILED"
    models = tmp_path / "run" / "models"
    if epoch == 1:
        assert "No weights were kept" in message
        assert not list(models.glob("*.pt"))
    else:
        assert "The weights of epoch 1, the best so far, stay" in message
        assert Bundle(tmp_path / "run").load_network()  # which refuses weights that are not finite
        assert _state(tmp_path / "run")["epoch"] == 1


def test_a_second_run_does_not_overwrite_the_first(run, train):
    weights = run / "models" / "model.pt"
    before = shutil.copy(weights, run / "before.pt")
    with pytest.raises(RuntimeError, match="Failed to") as error:
        train(run, run.parent / "datalist.json")
    assert any(
        isinstance(cause, FileExistsError) and "--resume true" in str(cause)
        for cause in exception_chain(error.value)
    )
    assert filecmp.cmp(weights, before, shallow=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "value", "earlier"), [("learning_rate", 0.5, 0.001), ("image_size", 96, 64)]
)
def test_resuming_with_other_settings_names_them_and_changes_nothing(run, train, setting, value, earlier):
    with pytest.raises(RuntimeError, match="Failed to") as error:
        train(run, run.parent / "datalist.json", resume=True, **{setting: value})
    assert any(
        f"{setting} was {earlier}, now {value}" in str(cause) for cause in exception_chain(error.value)
    )
    assert Bundle(run).load_network()


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(run, train):
    before = torch.load(run / "models" / "last.pt", weights_only=True)
    train(run, run.parent / "datalist.json", resume=True)
    after = torch.load(run / "models" / "last.pt", weights_only=True)
    assert before["epoch"] == after["epoch"] == 2
    assert all(torch.equal(before["network"][key], after["network"][key]) for key in before["network"])


@pytest.mark.parametrize(
    "override",
    [
        {"cache": "memory"},
        {"precision": "bf16"},
        {"freeze_epochs": 1, "backbone_factor": 0.1},
    ],
    ids=lambda override: "-".join(override),
)
@pytest.mark.slow
def test_variants_train(phantoms, train, tmp_path, override):
    train(tmp_path / "run", phantoms, max_epochs=1, **override)
    assert Bundle(tmp_path / "run").load_network()


@pytest.mark.slow
def test_pretrained_weights_from_a_file_start_the_network(phantoms, train, run, tmp_path):
    train(tmp_path / "run", phantoms, max_epochs=1, pretrained=str(run / "models" / "model.pt"))
    assert Bundle(tmp_path / "run").load_network()


def _command(output_dir: Path, datalist: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> list[str]:
    values = SMALL_RUN | {"cache_dir": output_dir.parent / "images"}
    settings = [word for key, value in values.items() for word in (f"--{key}", str(value))]
    return [
        *(launcher or (sys.executable,)),
        *(
            "-m",
            "monai.bundle",
            "run",
            "training",
            "--datalist",
            str(datalist),
            "--output_dir",
            str(output_dir),
        ),
        *settings,
        *arguments,
    ]


def _state(folder: Path) -> dict:
    return torch.load(folder / "models" / "last.pt", weights_only=True)


def _start(
    command: list[str], *, after_first_epoch_of: Path, streams: Any = subprocess.DEVNULL, **options
) -> subprocess.Popen:
    """A training in a process of its own that has just begun its second epoch."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=streams, stderr=streams, **options)
    last = after_first_epoch_of / "models" / "last.pt"
    deadline = time.monotonic() + 300
    while not last.exists():
        assert process.poll() is None, "the training ended"
        assert time.monotonic() < deadline, "the first epoch never ended"
        time.sleep(0.01)
    return process


@pytest.mark.slow
def test_a_run_stopped_with_ctrl_c_says_how_to_go_on_and_is_marked_as_killed(phantoms, tmp_path):
    store = f"sqlite:///{tmp_path}/mlruns.db"
    command = _command(
        tmp_path / "run", phantoms, "--config_file", str(CONFIGS / "train.yaml"), "--max_epochs", "50"
    )
    output = tmp_path / "output.txt"
    with output.open("w") as file:
        process = _start(
            command,
            after_first_epoch_of=tmp_path / "run",
            streams=file,
            # A shell starts background jobs, such as a gate, with SIGINT ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            env=os.environ | {"MLFLOW_TRACKING_URI": store},
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
    said = output.read_text()
    assert "--resume true" in said
    assert "Traceback" not in said
    client = mlflow.MlflowClient(store)
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert [run.info.status for run in runs] == ["KILLED"]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(phantoms, train, tmp_path):
    settings = {"max_epochs": 4, "batch_size": 2, "precision": "bf16"}
    train(tmp_path / "whole", phantoms, **settings)

    arguments = ["--config_file", str(CONFIGS / "train.yaml")]
    arguments += [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    victim = _start(
        _command(tmp_path / "killed", phantoms, *arguments), after_first_epoch_of=tmp_path / "killed"
    )
    victim.send_signal(signal.SIGKILL)  # the second epoch has just begun
    assert victim.wait(timeout=60) == -signal.SIGKILL
    assert _state(tmp_path / "killed")["epoch"] < 4

    train(tmp_path / "killed", phantoms, **settings, resume=True)
    whole, again = _state(tmp_path / "whole"), _state(tmp_path / "killed")
    assert whole["epoch"] == again["epoch"] == 4
    for part in ("network", "averaged_network"):
        for key, value in whole[part].items():
            assert torch.equal(value, again[part][key]), key
    moments, moments_again = whole["optimizer"]["state"], again["optimizer"]["state"]
    assert all(torch.equal(moments[k]["exp_avg_sq"], moments_again[k]["exp_avg_sq"]) for k in moments)
    assert whole["best_metric"] == again["best_metric"]
