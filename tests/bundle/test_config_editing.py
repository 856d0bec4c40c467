"""The copy of a bundle holds its settings, finds itself, and keeps its comments."""

import json
from pathlib import Path

import pytest
from hostile_text import texts
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from covid_monai.bundle import Bundle
from covid_monai.bundle.config_editing import SHIPPED_SECTION, quote_data

BUNDLE = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"


def test_copy_has_the_settings_baked_in_and_keeps_the_comments(small_bundle):
    assert (small_bundle.class_names, small_bundle.image_size) == (("no", "yes"), 64)
    assert small_bundle.network_name == "resnet10"
    formats = small_bundle.metadata["network_data_format"]
    assert formats["outputs"]["pred"]["channel_def"] == {"0": "no", "1": "yes"}
    assert formats["inputs"]["image"]["spatial_shape"] == [64, 64]
    copied = (small_bundle.root / "configs" / "inference.yaml").read_text()
    assert [line for line in copied.splitlines() if line.startswith("#")]
    assert (small_bundle.root / "LICENSE").is_file()


NAMES = ["o'brien", "a else b", 'a "b" @c #1', "back\\slash %d $x {y}: z", "王 é \udcff"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_copy_in_a_folder_of_any_name_finds_itself(small_bundle, tmp_path, monkeypatch, name):
    first = small_bundle.copy_to(tmp_path / name)
    again = first.copy_to(tmp_path / "2" / name)  # what was baked in is replaced
    monkeypatch.chdir(tmp_path)
    for folder in (first.root, again.root):
        for config in ("train.yaml", "evaluate.yaml", "inference.yaml"):
            parser = ConfigParser()
            parser.read_config(str(folder / "configs" / config))
            assert parser.get_parsed_content("bundle_root") == str(folder)


@pytest.mark.slow
@given(st.recursive(texts | st.integers() | st.none() | st.booleans(), st.lists))
def test_monai_reads_quoted_data_as_they_are(value):
    config = {"value": quote_data(value), "nested": [{"a": quote_data(value)}], "data": "never read"}
    parsed = ConfigParser(config).get_parsed_content("")
    assert parsed == {"value": value, "nested": [{"a": value}], "data": "never read"}


def test_a_path_is_text_and_a_part_of_a_config_is_no_data():
    assert quote_data(Path("runs/a b")) == "runs/a b"
    with pytest.raises(ValueError, match=r"os.system.* is a part of a config, not a value"):
        quote_data([{"_target_": "os.system"}])


def test_a_copy_holds_a_setting_of_any_text_as_text(small_bundle, tmp_path):
    copy = Bundle(small_bundle.root, network_name="$open('x','w')").copy_to(tmp_path / "copy")
    config = ConfigParser.load_config_file(copy.root / "configs" / "train.yaml")
    assert ConfigParser({"name": config["network_name"]}).get_parsed_content("name") == "$open('x','w')"


@pytest.mark.parametrize("name", ["$open('x','w')", "$import this", "%x.yaml::y", "@data", "a#b"])
def test_a_bundle_whose_class_is_no_name_is_refused(small_bundle, tmp_path, name):
    config = small_bundle.root / "configs" / "inference.yaml"
    config.write_text(config.read_text().replace('"yes"', json.dumps(name)))
    with pytest.raises(ValueError, match=r"inference.yaml: class_names: the class name .* contains"):
        _ = Bundle(small_bundle.root).class_names
    with pytest.raises(ValueError, match=r"the class name .* contains"):
        Bundle(BUNDLE, class_names=["no", name]).copy_to(tmp_path / "copy")
    assert not [path for path in tmp_path.glob("copy/configs/*") if json.dumps(name) in path.read_text()]


def test_copy_trains_again_as_what_it_is(small_bundle):
    original = ConfigParser.load_config_file(BUNDLE / "configs" / "train.yaml")
    copied = ConfigParser.load_config_file(small_bundle.root / "configs" / "train.yaml")
    original.pop("bundle_root"), copied.pop("bundle_root")  # each names its own
    assert copied == original | {"network_name": "resnet10", "image_size": 64}


def test_copied_model_card_does_not_speak_of_the_shipped_weights(small_bundle, tmp_path):
    card = small_bundle.root / "docs" / "README.md"
    text = card.read_text()
    assert SHIPPED_SECTION not in text
    before, after = text.split("## Input")
    card.write_text(f"{before}{SHIPPED_SECTION}\n\nAUROC 0.99\n\n### Data\n\nSome.\n\n## Input{after}")
    again = Bundle(small_bundle.root).copy_to(tmp_path / "again")
    assert (again.root / "docs" / "README.md").read_text() == text
