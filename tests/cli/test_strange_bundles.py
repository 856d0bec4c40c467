"""Every command on bundles that hold code: nothing of it runs without `--trust-code`."""

import json
import shutil

import pytest
import yaml
from strange_bundles import IGNORED, REFUSED, TEXT, code, edit

from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.phantoms.dataset import write_phantoms

CPU = ("--device", "cpu")
CLASSES = ("normal", "pneumonia", "covid")
TORCH = (*CPU, "--backend", "torch")
# How a command gets the bundle; {} stands for it, and None for `--trust-code` where it is no option.
COMMANDS = {
    "predict": ("predict", "--bundle", "{}", *TORCH, "{image}"),
    "predict --json": ("predict", "--bundle", "{}", *TORCH, "--json", "{image}"),
    "predict, a zip": ("predict", "--bundle", "{zip}", *TORCH, "{image}"),
    "evaluate": ("evaluate", "--bundle", "{}", *CPU, "--datalist", "{list}", "--output", "{out}"),
    "adapt": ("adapt", "--bundle", "{}", *CPU, "--datalist", "{list}", "--output", "{out}"),
    "export": ("export", "--bundle", "{}", "--output", "{out}"),
    "serve": ("serve", "--bundle", "{}", *TORCH, "--port", 0),
    "app": ("app", "--bundle", "{}", *TORCH, "--port", 0),
    "app --compare": ("app", "--bundle", "{good}", "--compare", "{}", *TORCH, "--port", 0),
    "worker": ("worker", "--config", "{worker}"),
    "worker check": ("worker", "check", "--config", "{worker}"),
    "score-archive": ("score-archive", "--bundle", "{}", *CPU, "--output", "{out}.jsonl", "{image}"),
    "bundle verify": ("bundle", "verify", "{zip}"),
}
WITH_OPTION = [name for name in COMMANDS if "verify" not in name and "worker" not in name]
ATTACKS = ["an argument", "os.system", "the number of classes"]


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "phantoms"
    write_phantoms(folder, patients=9, size=64, image_format="png", ct=False)
    return folder


@pytest.fixture
def command(request, run, bundle, tmp_path, data, monkeypatch):
    """Run a command on a copy of a good bundle that a function has changed; servers and Ray do not start."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("covid_monai.cli.serve.run_announced", lambda *_, **__: None)
    monkeypatch.setattr("covid_monai.cli.app.run_announced", lambda *_, **__: None)
    monkeypatch.setattr("covid_monai.inference.ray_cluster._cluster", _InThisProcess)
    monkeypatch.setattr("covid_monai.inference.ray_cluster._classify", _classify_here)
    strange = shutil.copytree(bundle.root, tmp_path / "strange")
    Calibration(CLASSES, 1.0, dict.fromkeys(CLASSES, 0.2), 0.9).save(strange / "models" / "calibration.json")
    archives = [{"name": "main", "source": "orthanc", "url": "http://127.0.0.1:9"}]
    content = {"bundle": str(strange), "state_dir": str(tmp_path / "state"), "archives": archives}
    content |= {"device": "cpu", "backend": "torch"}

    def call(name, change, *options):
        if name.startswith("app"):
            request.getfixturevalue("new_nicegui")
        change(strange)
        words = {"image": next(data.rglob("*.png")), "list": data / "datalist.json", "good": bundle.root}
        words |= {
            "out": tmp_path / "out",
            "worker": tmp_path / "worker.yaml",
            "zip": tmp_path / "strange.zip",
        }
        trusted = {"trust_code": True} if "--trust-code" in options and "worker" in name else {}
        words["worker"].write_text(yaml.safe_dump(content | trusted))
        if "{zip}" in COMMANDS[name]:
            from covid_monai.bundle.bundle_zip import write_checksums, write_zip

            (strange / "export.json").write_text('{"parity": {"tolerance": 1e-4}}')
            write_checksums(strange)
            write_zip(strange, words["zip"])
        given = options if "worker" not in name else ()
        return run(*(str(word).format(strange, **words) for word in COMMANDS[name]), *given)

    return call


class _InThisProcess:
    def __init__(self, *_):
        pass

    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


def _classify_here(files, settings, _model, *, workers):
    from covid_monai.inference.ray_cluster import _Worker

    yield from _Worker(**settings)({"file": [str(file).encode() for file in files]})["line"][:workers]


def _inference(change, canary):
    return lambda root: edit(root / "configs" / "inference.yaml", lambda config: change(config, canary))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_command_runs_the_code_of_a_bundle(name, attack, command, canary):
    code_of_exit, out, err = command(name, _inference(REFUSED[attack], canary))
    assert code_of_exit in (1, 2)
    assert "inference.yaml" in out + err
    assert not canary.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("attack", ["!!python/object/apply", "aliases"])
def test_no_command_makes_objects_from_yaml(name, attack, command, canary):
    def change(root):
        path = root / "configs" / "inference.yaml"
        path.write_text(f"{path.read_text()}\n{TEXT[attack][0].format(canary=canary)}\n")

    code_of_exit, out, err = command(name, change)
    assert code_of_exit in (1, 2)
    assert "inference.yaml" in out + err
    assert not canary.exists()


def _everywhere_else(canary):
    """Code in all files and sections that no command of ours needs."""

    def change(root):
        for attack in IGNORED.values():
            _inference(attack, canary)(root)
        for name in ("evaluate", "train", "multi_gpu_train"):
            path = root / "configs" / f"{name}.yaml"
            edit(path, lambda config: config.update(imports=[code(canary)], initialize=[code(canary)]))
            edit(path, lambda config: config.update(run=[code(canary)], network_def=code(canary)))
        (root / "configs" / "evaluate.yml").write_text(json.dumps({"run": [code(canary)]}))
        (root / "configs" / "inference.json").write_text(json.dumps({"preprocessing": code(canary)}))
        edit(root / "configs" / "metadata.json", lambda metadata: metadata.update(task=code(canary)))
        logging = root / "configs" / "logging.conf"
        logging.write_text(logging.read_text().replace("sys.stdout,", f"open({str(canary)!r}, 'w'),"))
        (root / "docs" / "README.md").write_text(code(canary))
        (root / "sitecustomize.py").write_text(f"open({str(canary)!r}, 'w')")

    return change


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("worker", "export")])
def test_code_that_is_not_needed_is_left_alone(name, command, canary):
    code_of_exit, out, err = command(name, _everywhere_else(canary))
    assert not canary.exists()
    if name not in ("bundle verify", "worker check"):
        assert code_of_exit == 0, out + err


@pytest.mark.slow
def test_verify_names_the_code_beside_what_is_wrong(command, canary, tmp_path):
    from covid_monai.export import verify_bundle

    command("bundle verify", _everywhere_else(canary))
    with pytest.raises(ValueError, match=r"configs/evaluate\.yaml: run::0 is") as error:
        verify_bundle(tmp_path / "strange.zip")
    assert "configs/logging.conf: not a file of this package" in str(error.value)
    assert not canary.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_OPTION)
def test_the_user_can_say_that_the_code_may_run(name, command, canary):
    command(name, _inference(REFUSED["a reference to code"], canary), "--trust-code")
    assert canary.exists()


@pytest.mark.parametrize("name", ["worker check"])
def test_the_worker_needs_it_in_its_configuration(name, command, canary):
    command(name, _inference(REFUSED["a reference to code"], canary), "--trust-code")
    assert canary.exists()


@pytest.mark.slow
def test_evaluate_runs_the_evaluate_yaml_of_the_bundle_only_for_those_who_trust_it(command, canary):
    def change(root):
        edit(root / "configs" / "evaluate.yaml", lambda config: config["run"].insert(0, code(canary)))

    assert command("evaluate", change, "--trust-code")[0] == 0
    assert canary.exists()


def test_verify_has_no_option_that_runs_code(command, canary):
    code_of_exit, _, err = command("bundle verify", _inference(REFUSED["Lambdad"], canary), "--trust-code")
    assert code_of_exit == 2
    assert "No such option: --trust-code" in err
