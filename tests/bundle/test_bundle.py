"""The bundle as MONAI's own tools see it, and weights that fit or are refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import CheckpointError, save_checkpoint

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


@pytest.mark.parametrize("name", ["inference.yaml", "metadata.json"])
def test_the_missing_config_is_named(small_bundle, name):
    (small_bundle.root / "configs" / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"is not a bundle, because .*{name} is missing"):
        Bundle(small_bundle.root)


class _Runs:
    def __reduce__(self):
        return print, ("this runs",)


@pytest.mark.parametrize("key", ["model", "class_names", "preprocessing_digest", None])
def test_no_object_in_a_checkpoint_is_made_and_no_advice_to_do_so_is_given(small_bundle, key, capsys):
    network = small_bundle.build_network()
    content = small_bundle.checkpoint(network) if key else _Runs()
    torch.save({**content, key: _Runs()} if key else content, small_bundle.checkpoint_path)
    with pytest.raises(CheckpointError, match=r"model\.pt is damaged.*more than numbers and names") as error:
        small_bundle.load_weights(network)
    assert "weights_only" not in str(error.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("value", [7, None, ["x"]])
def test_a_digest_that_is_no_text_is_another_digest(small_bundle, value):
    network = small_bundle.build_network()
    content = small_bundle.checkpoint(network) | {"preprocessing_digest": value}
    save_checkpoint(content, small_bundle.checkpoint_path)
    with pytest.raises(CheckpointError, match="another preprocessing"):
        small_bundle.load_weights(network)


@pytest.mark.slow
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


def test_weights_come_back_as_they_were(small_bundle):
    torch.manual_seed(0)
    expected = small_bundle.build_network().state_dict()
    loaded = small_bundle.load_network().state_dict()
    assert all(torch.equal(expected[key], loaded[key]) for key in expected)


def test_missing_weights_are_an_error_that_says_what_to_do(small_bundle):
    small_bundle.checkpoint_path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no trained weights at .*model\.pt.*run training"):
        small_bundle.load_network()


def test_weights_made_under_another_preprocessing_are_refused(small_bundle):
    config = small_bundle.root / "configs" / "inference.yaml"
    config.write_text(config.read_text().replace("upper: 99.0", "upper: 98.0"))
    with pytest.raises(CheckpointError, match="another preprocessing"):
        Bundle(small_bundle.root).load_network()


def test_weights_of_other_classes_are_refused(small_bundle):
    config = small_bundle.root / "configs" / "inference.yaml"
    swapped = config.read_text().replace('- "no"\n- "yes"', '- "yes"\n- "no"')
    assert swapped != config.read_text()
    config.write_text(swapped)
    with pytest.raises(CheckpointError, match="trained on the classes no, yes"):
        Bundle(small_bundle.root).load_network()


@pytest.mark.parametrize("damage", ["truncate", "garbage", "foreign"])
def test_damaged_weights_are_refused_by_name(small_bundle, damage):
    path = small_bundle.checkpoint_path
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "garbage":
        path.write_bytes(b"not a checkpoint")
    else:
        torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"model\.pt"):
        small_bundle.load_network()


def test_weights_of_another_network_are_refused(small_bundle):
    network = Bundle(BUNDLE, network_name="resnet18", class_names=["no", "yes"]).build_network()
    with pytest.raises(CheckpointError, match="does not fit"):
        small_bundle.load_weights(network)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["fc.bias", "bn1.running_var"])
def test_weights_that_are_not_finite_are_refused(small_bundle, name, value):
    network = small_bundle.build_network()
    network.state_dict()[name][0] = value
    save_checkpoint(small_bundle.checkpoint(network), small_bundle.checkpoint_path)
    with pytest.raises(CheckpointError, match=rf"model\.pt holds values that are infinite.*in {name}"):
        small_bundle.load_network()


@pytest.mark.parametrize("place", ["docs/notes.md", "configs/extra", "LICENSE"])
def test_a_link_out_of_a_bundle_puts_no_other_file_into_a_copy(small_bundle, tmp_path, place):
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_text("secret")
    link = small_bundle.root / place
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / "private" / ("" if place == "configs/extra" else "key"))
    with pytest.raises(ValueError, match=rf"{place} leads out of the bundle.*cp -rL"):
        small_bundle.copy_files(tmp_path / "copy")
    copied = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert not [path for path in copied if "secret" in path.read_text()]


def test_a_link_within_a_bundle_is_copied(small_bundle, tmp_path):
    small_bundle.root.joinpath("docs").mkdir(exist_ok=True)
    (small_bundle.root / "docs" / "settings.yaml").symlink_to("../configs/inference.yaml")
    small_bundle.copy_files(tmp_path / "copy")
    copied = (tmp_path / "copy" / "docs" / "settings.yaml").read_text()
    assert copied == (small_bundle.root / "configs" / "inference.yaml").read_text()
