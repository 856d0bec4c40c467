"""A whole training of lung masks: a bundle at its end, MLflow, and the same weights after an interruption."""

import json
from pathlib import Path

import mlflow
import pytest
import torch
from ignite.engine import Events
from mask_helpers import write_masked_phantoms

from covid_monai.bundle import Bundle
from covid_monai.bundle.composed_config import run_workflow
from covid_monai.core.errors import exception_chain
from covid_monai.training.tracking import read_run_id

CONFIGS = Path(__file__).parents[3] / "bundles" / "covid_cxr_lung_segmentation" / "configs"
SMALL = {
    "image_size": 64,
    "batch_size": 4,
    "max_epochs": 2,
    "val_interval": 1,
    "phantoms": 2,
    "cpu_threads": 1,
}


class _Interrupt:
    """Stands in the place of EarlyStop, and ends the training after its first epoch."""

    def attach(self, engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED(once=1), engine.terminate)


def _train(datalist: Path, output_dir: Path, *, changes: dict | None = None, **settings) -> None:
    paths = {"bundle_root": CONFIGS.parent, "datalist": datalist, "output_dir": output_dir}
    run_workflow(
        [CONFIGS / "train.yaml"], workflow_type="train", data={**SMALL, **paths, **settings}, changes=changes
    )


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_weights_in_a_bundle_that_is_evaluated(tmp_path, store):
    datalist = write_masked_phantoms(tmp_path / "data")
    _train(datalist, tmp_path / "whole")
    _train(datalist, tmp_path / "parts", changes={"train::handlers::10": _Interrupt()})
    assert torch.load(tmp_path / "parts" / "models" / "last.pt")["epoch"] == 1
    _train(datalist, tmp_path / "parts", resume=True)
    whole, parts = (torch.load(tmp_path / run / "models" / "last.pt") for run in ("whole", "parts"))
    assert whole["epoch"] == parts["epoch"] == 2
    for key in ("network", "averaged_network"):
        assert all(torch.equal(value, parts[key][name]) for name, value in whole[key].items())

    bundle = Bundle(tmp_path / "whole")
    assert bundle.is_segmentation
    assert bundle.load_network()(torch.zeros(1, 1, 64, 64)).shape == (1, 2, 64, 64)
    formats = bundle.metadata["network_data_format"]
    assert (
        formats["inputs"]["image"]["spatial_shape"] == formats["outputs"]["pred"]["spatial_shape"] == [64, 64]
    )
    tracked = mlflow.MlflowClient(store).get_run(read_run_id(tmp_path / "whole"))
    assert tracked.info.status == "FINISHED"
    assert {"val/dice", "val_best/dice", "val/loss", "train/loss"} <= tracked.data.metrics.keys()

    run_workflow(
        [CONFIGS / "evaluate.yaml"],
        workflow_type="infer",
        data={"bundle_root": bundle.root, "datalist": datalist, "output_dir": tmp_path / "evaluation"},
    )
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert (metrics["images"], metrics["patients"]) == (4, 4)
    assert metrics["model"]["weights_sha256"] == bundle.identity["weights_sha256"]


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_a_datalist_without_masks_is_refused_before_anything_is_decoded(tmp_path, phantoms):
    with pytest.raises(RuntimeError) as failure:
        _train(phantoms, tmp_path / "run")
    (message,) = [str(error) for error in exception_chain(failure.value) if isinstance(error, ValueError)]
    assert "without a mask" in message
    assert "data prepare lung-masks" in message
