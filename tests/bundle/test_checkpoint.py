"""Weights fit their bundle, or they are refused."""

from pathlib import Path

import pytest
import torch

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import CheckpointError

BUNDLE = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"


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


def test_a_checkpoint_holds_no_code(small_bundle, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "pwned",))

    torch.save(
        {"preprocessing_digest": small_bundle.preprocessing_digest, "model": Evil()},
        small_bundle.checkpoint_path,
    )
    with pytest.raises(CheckpointError):
        small_bundle.load_network()
    assert not (tmp_path / "pwned").exists()
