"""The command experiment: its settings, and what it writes; no network is trained here."""

import json
from pathlib import Path

import pytest
import yaml

from covid_monai.cli.options import complete_setting

STUDY = Path(__file__).parents[2] / "configs" / "experiments" / "s1.yaml"
RESULT = {
    **{"title": "T", "protocol": "folds", "published": {}, "differs": []},
    "variants": {
        "default": {
            **{"n": 2, "bootstrap": {"patients": 1}},
            "accuracy": {"value": 0.5, "low": None, "high": None},
        }
    },
}


@pytest.fixture
def experiment(run, tmp_path, monkeypatch):
    """Run the command with a study that takes no time; gives its outcome and what the study was asked for."""
    asked = {}

    def train(study, **arguments):
        print("a library's greeting")
        asked.update(arguments, study=study)
        return RESULT

    monkeypatch.setattr("covid_monai.experiments.study_run.run_study", train)
    paths = (STUDY, "--data", tmp_path, "--output", tmp_path / "out")
    return lambda *options: (run("experiment", *paths, *options), asked)


def test_the_table_is_printed_and_written(experiment, tmp_path):
    (code, out, _), asked = experiment()
    table = (tmp_path / "out" / "table.md").read_text()
    assert code == 0
    assert "| accuracy |  | 0.500 |" in table
    assert table in out
    assert f"Result: {tmp_path / 'out' / 'result.json'}" in out
    assert (asked["data_dir"], asked["output"]) == (tmp_path, tmp_path / "out")
    assert (asked["settings"], asked["seed"]) == ({}, 0)


def test_with_json_nothing_else_is_printed(experiment, tmp_path):
    (code, out, err), _ = experiment("--json")
    assert code == 0
    assert json.loads(out) == RESULT
    assert "greeting" in err
    assert (tmp_path / "out" / "table.md").exists()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("max_epochs=1", {"max_epochs": 1}),
        ("learning_rate=1e-3", {"learning_rate": "1e-3"}),  # YAML 1.1: a number needs its point
        ("learning_rate=1.0e-3", {"learning_rate": 0.001}),
        ("network_name=resnet10", {"network_name": "resnet10"}),
        ("batch_size=", {"batch_size": None}),
        ("loss#weight=[1, 2]", {"loss#weight": [1, 2]}),
        ("cache_dir=a=b", {"cache_dir": "a=b"}),
    ],
)
def test_a_setting_is_read_as_yaml(experiment, word, expected):
    (code, _, err), asked = experiment("--set", word, "--seed", 7)
    assert code == 0, err
    assert (asked["settings"], asked["seed"]) == (expected, 7)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("max_epochs", "give NAME=VALUE, such as max_epochs=1"),
        ("=1", "give NAME=VALUE"),
        ("cache_dir={_target_: os.system, command: x}", "is a part of a config, not a value"),
        ("max_epoch=1", "Did you mean 'max_epochs'?"),
    ],
)
def test_a_setting_that_is_none_is_told_before_anything_is_trained(experiment, tmp_path, word, message):
    (code, out, err), asked = experiment("--set", word)
    assert (code, out, asked) == (2, "", {})
    assert message in err
    assert not (tmp_path / "out").exists()


def test_settings_are_completed_by_the_names_of_train_yaml():
    names = yaml.safe_load(
        (STUDY.parents[2] / "bundles/covid_cxr_classification/configs/train.yaml").read_text()
    )
    assert complete_setting("") == [f"{name}=" for name in names]
    assert complete_setting("max_e") == ["max_epochs="]
    assert complete_setting("no such") == []
