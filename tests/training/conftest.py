"""A finished run and its MLflow store, for the tests of this folder."""

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> str:
    """An MLflow store of these tests' own, for this process and its children."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlruns.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri


@pytest.fixture(scope="session")
def run(store, phantoms, train, tmp_path_factory) -> Path:  # noqa: ARG001  # the store must be set
    """A finished run, trained where the test split's images do not exist."""
    folder = tmp_path_factory.mktemp("trained")
    content = json.loads(phantoms.read_text())
    images = folder / "images"
    for split in ("training", "validation"):
        for item in content[split]:
            (images / item["image"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(phantoms.parent / item["image"], images / item["image"])
    datalist = folder / "datalist.json"
    datalist.write_text(json.dumps(content | {"root": str(images)}))
    train(folder / "o'brien", datalist)  # the configs in it name it
    return folder / "o'brien"
