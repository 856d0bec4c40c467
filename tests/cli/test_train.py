"""The command train: what it hands to train.yaml, and what it refuses; tests/test_wheel.py trains with it."""

import pytest

from covid_monai.bundle.shipped import LUNG_BUNDLE, shipped_bundle, shipped_names
from covid_monai.inference.classifier import choose_device


@pytest.fixture
def train(run, tmp_path, monkeypatch):
    """Run the command without a training; gives its outcome and what train.yaml would have got."""
    asked = {}

    def workflow(configs, **arguments):
        asked.update(arguments, configs=configs)

    monkeypatch.setattr("covid_monai.bundle.composed_config.run_workflow", workflow)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.json").write_text("{}")
    return lambda *options: (run("train", *options), asked)


def test_train_yaml_of_the_package_runs_from_any_folder(train, tmp_path):
    words = (
        "--datalist",
        "my.json",
        "--output",
        "runs/my",
        "--set",
        "max_epochs=3",
        "--set",
        "loss#weight=null",
    )
    (code, _, _), asked = train(*words, "--device", "cpu")
    assert code == 0
    assert asked["configs"] == [shipped_bundle() / "configs" / "train.yaml"]
    assert asked["data"] == {
        **{"max_epochs": 3, "loss#weight": None, "resume": False, "device": choose_device("cpu")},
        **{"bundle_root": shipped_bundle(), "datalist": tmp_path / "my.json"},
        "output_dir": tmp_path / "runs" / "my",
    }


def test_a_bundle_is_named_and_overlays_come_after_it(train, tmp_path):
    (tmp_path / "own.yaml").write_text("seed: 3")
    words = ("--datalist", "my.json", "--output", "out", "--bundle", LUNG_BUNDLE.name, "--config", "own.yaml")
    (code, _, _), asked = train(*words, "--resume", "--dataset-dir", ".")
    assert code == 0
    first, second = asked["configs"]
    assert first == shipped_bundle(LUNG_BUNDLE) / "configs" / "train.yaml"
    assert second.name == "own.yaml"
    assert asked["data"]["resume"] is True
    assert asked["data"]["dataset_dir"] == tmp_path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "max_epoch=3"), "Did you mean 'max_epochs'?"),
        (("--set", "max_epochs"), "give NAME=VALUE"),
        (("--set", "output_dir=runs/x"), "give --output instead"),
        (("--set", "resume=true"), "give --resume instead"),
        (("--bundle", "covid_cxr"), "Unknown bundle of this package 'covid_cxr'"),
        (("--bundle", "../bundle"), f"Choose one of: {', '.join(shipped_names())}"),
        (("--datalist", "no.json"), "no.json does not exist"),
        (("--datalist", "."), "--datalist . is a folder; name a datalist in it"),
        (("--config", "no.yaml"), "no.yaml does not exist"),
        (("--config", "empty.yaml"), "--config empty.yaml holds no settings"),
        (("--config", "list.yaml"), "--config list.yaml holds no settings"),
        (("--config", "cut.yaml"), "--config cut.yaml is not a YAML file"),
        (("--config", "bytes.yaml"), "--config bytes.yaml is not a YAML file"),
        (("--dataset-dir", "no"), "--dataset-dir no is not a folder"),
    ],
)
def test_wrong_options_are_named_before_anything_runs(train, tmp_path, options, message):
    for name, content in (("empty", b""), ("list", b"- 1"), ("cut", b"a: [1"), ("bytes", b"\xff\xfe\x00")):
        (tmp_path / f"{name}.yaml").write_bytes(content)
    words = options if "--datalist" in options else ("--datalist", "my.json", *options)
    (code, out, err), asked = train("--output", "runs/my", *words)
    assert code == 2
    assert message in err
    assert not asked
    assert not out
    assert not (tmp_path / "runs").exists()
