"""The settings of a run: what is logged, and what a resumed run must share with its first part."""

from contextlib import suppress
from copy import deepcopy

import pytest
from monai.bundle import ConfigParser

from covid_monai.training.run_folder import RunFolder, RunSettings

CONFIG = {
    "learning_rate": 0.001,
    "pretrained": None,
    "output_dir": "runs/a",
    "class_names": ["no", "yes"],
    "unused": 1,
    "optimizer": {"_target_": "dict", "lr": "@learning_rate", "weights": "@pretrained"},
    "folder": "$@output_dir + '/' + @class_names[0]",
    "settings": {
        "_target_": "covid_monai.training.run_folder.RunSettings",
        "resolved_ids": "$__local_refs",
        "digests": {"data": "abc"},
        "may_differ": ["output_dir", "folder"],
        "not_logged": ["output_dir", "pretrained"],
    },
}


def resolved() -> tuple[ConfigParser, RunSettings]:
    parser = ConfigParser(deepcopy(CONFIG))
    settings = parser.get_parsed_content("settings")
    for name in ("optimizer", "folder"):
        parser.get_parsed_content(name)
    return parser, settings


def test_settings_are_the_plain_values_that_the_config_has_resolved_by_now():
    _parser, settings = resolved()
    shared = {"learning_rate": 0.001, "pretrained": None, "class_names": ["no", "yes"], "data": "abc"}
    assert settings.shared() == shared
    assert settings.values() == shared | {"output_dir": "runs/a", "folder": "runs/a/no"}


def test_an_output_folder_that_is_a_file_is_named_and_stays(tmp_path):
    (tmp_path / "mine").write_text("notes")
    with pytest.raises(FileExistsError, match=r"mine is a file\. Give another output folder"):
        RunFolder(
            folder=tmp_path / "mine", bundle=None, network=None, evaluator=None, stateful={}, settings=None
        )
    assert (tmp_path / "mine").read_text() == "notes"


def test_an_override_is_seen():
    parser = ConfigParser(deepcopy(CONFIG))
    parser["learning_rate"] = 0.5
    settings = parser.get_parsed_content("settings")
    parser.get_parsed_content("optimizer")
    assert settings.shared()["learning_rate"] == 0.5


def test_the_config_of_a_run_has_its_values_and_digests():
    _parser, settings = resolved()
    config = settings.logged_config()
    assert config["optimizer"] == {"_target_": "dict", "lr": 0.001, "weights": None}
    assert (config["unused"], config["output_dir"], config["data"]) == (1, "(not logged)", "abc")


PATHS = [
    "/data/ZZPLANTED/x.json",
    "runs/ZZPLANTED",
    "../ZZPLANTED",
    r"C:\ZZPLANTED",
    "~/ZZPLANTED.pt",
    "file:///ZZPLANTED",
    "$'/data/ZZPLANTED'",
    '$open("data/ZZPLANTED.json").read()',
    ["a", "/data/ZZPLANTED"],
    [{"image": "ZZPLANTED.png", "label": 0}],
    [{"patient": "ZZPLANTED"}],
]


@pytest.mark.slow
@pytest.mark.parametrize("value", PATHS, ids=range(len(PATHS)))
@pytest.mark.parametrize(
    "place", ["output_dir", "pretrained", "another", "optimizer::weights", "nested::a::b"]
)
def test_no_path_and_no_record_is_logged_wherever_it_stands(place, value):
    config = {**deepcopy(CONFIG), "another": 1, "nested": {"a": {"b": 1}}}
    parser = ConfigParser(config)
    parser[place] = value
    settings = parser.get_parsed_content("settings")
    assert "ZZPLANTED" not in str(settings.logged_config())
    for name in ("class_names", "output_dir", "learning_rate", "pretrained", "another"):
        with suppress(Exception):  # some of the paths do not exist
            parser.get_parsed_content(name)
    assert "ZZPLANTED" not in str(settings.logged_config())
    assert "ZZPLANTED" not in str(settings.logged_values())
    assert settings.logged_values()["learning_rate"] == 0.001


@pytest.mark.parametrize("value", ["imagenet", None])
def test_the_public_weights_are_logged(value):
    parser = ConfigParser({**deepcopy(CONFIG), "pretrained": value})
    settings = parser.get_parsed_content("settings")
    parser.get_parsed_content("optimizer")
    assert settings.logged_values()["pretrained"] == settings.logged_config()["pretrained"] == value


def test_class_names_may_hold_a_slash():
    parser = ConfigParser({**deepcopy(CONFIG), "class_names": ["no finding / normal", "yes"]})
    settings = parser.get_parsed_content("settings")
    parser.get_parsed_content("class_names")
    assert settings.logged_values()["class_names"] == ["no finding / normal", "yes"]


@pytest.mark.parametrize("name", ["output_dir", "pretrained"])
def test_a_file_name_without_a_folder_is_not_logged_either(name):
    parser = ConfigParser({**deepcopy(CONFIG), name: "ZZPLANTED.pt"})
    settings = parser.get_parsed_content("settings")
    parser.get_parsed_content("optimizer")  # which takes the value over
    assert "ZZPLANTED" not in f"{settings.logged_config()} {settings.logged_values()}"
