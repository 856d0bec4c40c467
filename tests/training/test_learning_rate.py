"""The learning-rate range test writes its curve."""

from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

CONFIGS = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification" / "configs"


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_the_learning_rate_finder_writes_its_curve(phantoms, tmp_path):
    workflow = ConfigWorkflow(
        config_file=str(CONFIGS / "train.yaml"),
        logging_file=False,
        run_id="find_lr",
        bundle_root=str(CONFIGS.parent),
        datalist=str(phantoms),
        output_dir=str(tmp_path),
        cache_dir=str(tmp_path / "images"),
        network_name="resnet10",
        image_size=64,
        batch_size=8,
        max_epochs=2,
        precision="fp32",
    )
    workflow.initialize()
    (rate,) = workflow.run()
    assert 1e-6 < rate < 1.0
    assert len((tmp_path / "learning_rates.csv").read_text().splitlines()) > 20
    assert (tmp_path / "learning_rates.png").read_bytes().startswith(b"\x89PNG")
