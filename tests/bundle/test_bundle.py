"""The bundle as MONAI's own tools see it, and weights that fit or are refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

from covid_monai.bundle import Bundle

BUNDLE = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"


def test_comment_and_key_order_do_not_change_the_digest(small_bundle):
    digest = small_bundle.preprocessing_digest
    config = small_bundle.root / "configs" / "inference.yaml"
    config.write_text("# a comment\n" + config.read_text())
    assert Bundle(small_bundle.root).preprocessing_digest == digest
    assert Bundle(small_bundle.root, image_size=96).preprocessing_digest != digest


def test_a_folder_without_configs_is_no_bundle(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a bundle"):
        Bundle(tmp_path)


@pytest.mark.parametrize(("config", "kind"), [("train", "train"), ("inference", "infer")])
def test_monai_finds_the_properties_it_asks_for(config, kind, phantoms, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlruns.db'}")
    workflow = ConfigWorkflow(
        config_file=str(BUNDLE / "configs" / f"{config}.yaml"),
        meta_file=str(BUNDLE / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type=kind,
        bundle_root=str(BUNDLE),
        datalist=str(phantoms),
        dataset_dir=str(phantoms.parent),
        output_dir=str(tmp_path / "run"),
        cache_dir=str(tmp_path / "images"),
    )
    workflow.parser["initialize"] = []  # inference would ask for weights
    workflow.initialize()
    assert not workflow.check_properties()


@pytest.mark.slow
def test_monai_verifies_network_input_and_output():
    command = [
        *(sys.executable, "-m", "monai.bundle", "verify_net_in_out", "--net_id", "network_def"),
        *("--meta_file", "configs/metadata.json", "--config_file", "configs/inference.yaml"),
    ]
    result = subprocess.run(command, cwd=BUNDLE, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "verified with no error" in result.stdout + result.stderr


def test_metadata_has_what_the_schema_requires():
    # verify_metadata fetches the schema from the internet; these are its required fields and types.
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    texts = (
        "schema",
        "version",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "task",
        "description",
        "authors",
        "copyright",
    )
    assert all(isinstance(metadata[key], str) for key in texts)
    assert isinstance(metadata["required_packages_version"], dict)
    for direction in ("inputs", "outputs"):
        for tensor in metadata["network_data_format"][direction].values():
            assert {
                "type",
                "format",
                "num_channels",
                "spatial_shape",
                "dtype",
                "value_range",
            } <= tensor.keys()
