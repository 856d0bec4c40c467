"""Two processes train as one does: same images, same losses, same metrics; and a lost one stops the run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from covid_monai.bundle import Bundle
from covid_monai.datasets.datalist import read_datalist
from covid_monai.evaluation.decisions.operating_point import OperatingPoint

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "covid_cxr_classification"
ALONE = [str(BUNDLE / "configs" / "train.yaml")]
TOGETHER = [*ALONE, str(BUNDLE / "configs" / "multi_gpu_train.yaml")]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
SMALL = {"network_name": "resnet10", "image_size": 64, "precision": "fp32"}
# Each process draws its own random numbers, so that nothing random is compared. The rate is low, because
# AdamW's first steps follow the sign of the smallest gradient: rounding of 5e-7 grows to 3e-3 in six steps of
# 1e-3, and on some processors to 1e-3 in six steps of 2e-4.
STILL = {"train::transforms": ["@normalization"], "learning_rate": 1e-4}
SECONDS = 300

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    store = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlruns.db'}"
    return os.environ | {"MLFLOW_TRACKING_URI": store, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def notes(phantoms, environment, tmp_path_factory) -> tuple[dict, list[dict], Path]:
    """What one process noted, what each of two did, and the folder of the two."""
    folder = tmp_path_factory.mktemp("several")

    def train(name: str, configs: list[str], launcher: tuple[str, ...], *, batch_size: int) -> list[dict]:
        overrides = {"bundle_root": str(BUNDLE), "datalist": str(phantoms), "output_dir": str(folder / name)}
        overrides["cache_dir"] = str(folder / "images")
        overrides |= {**SMALL, **STILL, "max_epochs": 3, "batch_size": batch_size}
        script = [str(ROOT / "tests" / "processes_helper.py"), str(folder / f"{name}.json")]
        command = [*launcher, *script, json.dumps(configs), json.dumps(overrides)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{name}.*.json"))]

    (one,) = train("one", ALONE, (sys.executable,), batch_size=8)
    return one, train("two", TOGETHER, TORCHRUN, batch_size=4), folder / "two"


def test_every_step_has_the_loss_that_one_process_has(notes):
    one, two, _ = notes
    assert len(one["loss"]) >= 9
    assert two[0]["loss"] == two[1]["loss"] == pytest.approx(one["loss"], abs=1e-3)
    assert one["loss"][-1] < 0.8 * one["loss"][0], "a training that stands still shows nothing"


def test_every_step_sees_the_images_that_one_process_sees_and_none_twice(notes):
    one, two, _ = notes
    steps = len(one["images"]) // 3
    for step, images in enumerate(one["images"]):
        assert sorted(images) == sorted(two[0]["images"][step] + two[1]["images"][step])
    for start in range(0, 3 * steps, steps):
        seen = [image for rank in two for batch in rank["images"][start : start + steps] for image in batch]
        assert len(seen) == len(set(seen))


def test_metrics_of_an_uneven_number_of_images_are_those_of_one_process(phantoms, notes):
    one, two, folder = notes
    validation = read_datalist(phantoms).splits["validation"]
    assert len(validation) % 2 == 1
    assert two[0]["validation"] == two[1]["validation"]
    for mine, theirs in zip(one["validation"], two[0]["validation"], strict=True):
        assert theirs == pytest.approx(mine, abs=1e-3)
    point = OperatingPoint.load(folder / "models" / "operating_point.json")
    assert point.chosen_on["n"] == len(validation)
    assert Bundle(folder).load_network()


def _command(folder: Path, datalist: Path, *more: str) -> list[str]:
    settings = SMALL | {"batch_size": 4, "datalist": datalist, "output_dir": folder}
    settings["cache_dir"] = folder.parent / "images"
    words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    return [
        *(*TORCHRUN, "-m", "monai.bundle", "run", "training", "--config_file", str(TOGETHER)),
        *(*words, *more),
    ]


def _rank(launcher: subprocess.Popen, rank: int) -> psutil.Process:
    children = psutil.Process(launcher.pid).children()
    return next(child for child in children if child.environ().get("RANK") == str(rank))


def test_a_lost_process_ends_the_run_with_its_name_and_the_run_resumes(phantoms, environment, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log.txt"
    last = folder / "models" / "last.pt"
    with log.open("w") as file:
        command = _command(folder, phantoms, "--max_epochs", "5")
        launcher = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
        try:
            deadline = time.monotonic() + SECONDS
            while not last.exists():
                assert launcher.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.02)
            _rank(launcher, 1).kill()
            assert launcher.wait(timeout=90) == 1
        finally:
            launcher.kill()
            launcher.wait()
    said = log.read_text()
    assert "rank      : 1" in said
    assert "SIGKILL" in said
    assert "Rank 0 of 2" in said
    assert "--resume true" in said
    assert torch.load(last, weights_only=True)["epoch"] < 5

    command = _command(folder, phantoms, "--max_epochs", "5", "--resume", "true")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert b"Continuing" in done.stdout + done.stderr
    assert torch.load(last, weights_only=True)["epoch"] == 5
    assert (folder / "models" / "operating_point.json").is_file()
