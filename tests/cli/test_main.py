"""The program as a whole: help, version, mistakes and exit codes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from codestreams import deadly_jpeg, lossless_jpeg, wrapped
from dicom_helpers import NAMES, picture, save, write_radiographs
from pydicom.uid import JPEGLosslessSV1

import covid_monai
from covid_monai.api.engine import Engine
from covid_monai.api.uploads import Upload
from covid_monai.inference.classifier import Classifier
from covid_monai.readers.sandbox import DecodeSandbox


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


@pytest.fixture
def family(tmp_path):
    """A radiograph in every kind of DICOM file, and between them one whose decoder ends its process."""
    folder = tmp_path / "family"
    folder.mkdir()
    write_radiographs(folder)
    save(wrapped(deadly_jpeg(picture()), JPEGLosslessSV1, picture().shape), folder / "deadly.dcm")
    lossless = wrapped(lossless_jpeg(picture(), 8), JPEGLosslessSV1, picture().shape)
    save(lossless, folder / "lossless.dcm")
    return folder


@pytest.mark.slow
def test_every_command_reads_the_same_files_and_outlives_a_decoder(run, bundle, family, tmp_path):
    """What is right is that only the file of the deadly stream has no image, and that it is named so."""
    names = {*NAMES.values(), "lossless.dcm"}
    run("predict", "--bundle", bundle.root, family, "--output", tmp_path / "out.jsonl")
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    readable = {Path(one["file"]).name for one in records if one["reason"] != "unreadable"}
    assert (readable, len(records)) == (names, len(names) + 1)
    assert "ends its process" in next(one["detail"] for one in records if one["reason"] == "unreadable")

    rows = [f"{path.name},{('normal', 'covid')[k % 2]}" for k, path in enumerate(sorted(family.iterdir()))]
    (family / "labels.csv").write_text("\n".join(["path,label", *rows]))
    listed = tmp_path / "list.json"
    code, *said = run("data", "prepare", "dicom-folder", family, "--output", listed, "--no-check-duplicates")
    assert code == 0, said
    excluded = {Path(one["image"]).name: one["reason"] for one in json.loads(listed.read_text())["excluded"]}
    assert "ends its process" in excluded["deadly.dcm"]
    others = [reason for name, reason in excluded.items() if name != "deadly.dcm"]  # copies of one image
    assert not any("DICOM" in reason or "damaged" in reason for reason in others)
    (family / "labels.csv").unlink()

    key = ["--key-file", tmp_path / "key", "--new-key"]
    run("data", "deidentify", *key, family, tmp_path / "copies")
    report = json.loads((tmp_path / "copies" / "deidentification.json").read_text())
    assert report["complete"]
    assert not {"not_dicom", "unreadable"} & {each["reason"] for each in report["refused"]}

    engine = Engine(Classifier(bundle.root))
    sandbox = DecodeSandbox(seconds=60, memory_mib=1024, target_size=64)
    for path in sorted(family.iterdir()):
        verdict = sandbox.check(path)  # of the worker
        (served,) = engine.predict([Upload(path.name, path.read_bytes())])
        assert (verdict.reason == "unreadable") == (path.name == "deadly.dcm")
        assert (served.reason == "unreadable") == (path.name == "deadly.dcm")
    sandbox.close()
    engine.close()
