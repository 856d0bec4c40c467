"""The settings of a run: what is logged, and what a resumed run must share with its first part."""

from copy import deepcopy

from monai.bundle import ConfigParser

from covid_monai.training.run_folder import RunSettings

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


def test_an_override_is_seen():
    parser = ConfigParser(deepcopy(CONFIG))
    parser["learning_rate"] = 0.5
    settings = parser.get_parsed_content("settings")
    parser.get_parsed_content("optimizer")
    assert settings.shared()["learning_rate"] == 0.5


def test_the_config_of_a_run_has_its_values_and_digests():
    _parser, settings = resolved()
    config = settings.config()
    assert config["optimizer"] == {"_target_": "dict", "lr": 0.001, "weights": None}
    assert (config["unused"], config["folder"], config["data"]) == (1, "runs/a/no", "abc")
