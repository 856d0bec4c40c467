"""The program as a whole: help, version, mistakes and exit codes."""

import shutil
import subprocess
import sys

import pytest

import covid_monai


def test_python_m_is_the_same_program():
    command = [sys.executable, "-m", "covid_monai", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout == f"covid-monai {covid_monai.__version__}\n"


def test_version_and_help(run):
    assert run("--version") == (0, f"covid-monai {covid_monai.__version__}\n", "")
    for command in ([], ["data", "prepare"], ["data", "phantom"], ["evaluate"], ["predict"]):
        code, out, _ = run(*command, "--help")
        assert code == 0
        assert "Examples:" in out
        assert " ".join(["covid-monai", *command]) in out


def test_prepare_help_names_every_source(run):
    from covid_monai.datasets.collections import SOURCES

    words = run("data", "prepare", "--help")[1].replace(",", " ").replace(".", " ").split()
    assert set(SOURCES) <= set(words)


def test_help_loads_nothing_heavy():
    script = (
        "import sys, covid_monai.cli.main; print(*{'torch', 'monai', 'pydicom', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_what_is_imported_to_predict_is_no_garbage_and_the_rest_is_collected():
    script = (
        "import gc; from covid_monai.core.lazy_imports import import_monai_for_prediction as start; start();"
        "print(gc.isenabled(), gc.get_freeze_count() > len(gc.get_objects()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_mistyped_command_gets_a_suggestion(run):
    code, _, err = run("predcit")
    assert code == 2
    assert "Did you mean 'predict'?" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict"], "Missing argument"),
        (["predict", "{tmp}/nothing.dcm"], "does not exist"),
        (["predict", "{tmp}/empty"], "No image found in"),
        (["predict", "--bundle", "{tmp}/empty", "{images}"], "is not a bundle"),
        (
            ["predict", "--output", "out.xlsx", "{images}"],
            "results are .jsonl or .csv files",
        ),
        (["predict", "--output", "out.csv", "--json", "{images}"], "Leave it out to write out.csv"),
        (
            ["predict", "--bundle", "{bundle}", "--device", "cuda:77", "{images}"],
            "'cuda:77' does not exist",
        ),
        (["data", "prepare", "kermani", "x", "--output", "{tmp}/list.json"], "Did you mean 'kermany'"),
        (["evaluate", "--bundle", "{bundle}", "--output", "{tmp}/e", "--datalist", "{tmp}/x.json"], "x.json"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run, bundle, images, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    places = {"tmp": tmp_path, "images": images, "bundle": bundle.root}
    code, out, err = run(*(argument.format(**places) for argument in arguments))
    assert code == 2
    assert message in err
    assert out == ""
    assert not (tmp_path / "list.json").exists()


def test_bundle_without_weights_says_how_to_get_some(run, bundle, images, tmp_path):
    shutil.copytree(bundle.root / "configs", tmp_path / "untrained" / "configs")
    code, _, err = run("predict", "--bundle", tmp_path / "untrained", images)
    assert code == 2
    assert "has no trained weights" in err
    assert "python -m monai.bundle run training" in err
    assert len([line for line in err.splitlines() if line.startswith("covid-monai:")]) == 1
