"""The command line in a shell: completion, mistakes that get a suggestion, examples, JSON and pipes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from covid_monai.bundle.shipped import LUNG_BUNDLE, SHIPPED_BUNDLE
from covid_monai.cli.main import app
from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES
from covid_monai.datasets.collections import SOURCES
from covid_monai.datasets.datalist import SPLITS
from covid_monai.datasets.split import VALIDATION_ORDERS
from covid_monai.deidentify.rules import Retain
from covid_monai.inference.backends import BACKENDS
from covid_monai.phantoms.dataset import IMAGE_FORMATS

ROOT = Path(__file__).parents[2]


def commands(command=None, path=()):
    """Every command and group of commands, with the words that lead to it."""
    command = command or typer.main.get_command(app)
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


COMMANDS = dict(commands())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_help_page_has_examples_of_its_own_command(run, path):
    code, out, err = run(*path, "--help")
    assert (code, err) == (0, "")
    _, _, examples = out.partition("Examples:")
    assert " ".join(["covid-monai", *path]) in examples
    assert "\x1b" not in out


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_example_is_a_command_with_options_that_there_are(path):
    for line in (COMMANDS[path].epilog or "").splitlines():
        words = line.split()
        if words[:1] != ["covid-monai"]:
            continue
        called = max((p for p in COMMANDS if tuple(words[1 : len(p) + 1]) == p), key=len)
        options = {name for p in COMMANDS[called].params for name in (*p.opts, *p.secondary_opts)}
        unknown = {word for word in words if word.startswith("--")} - options - {"--help"}
        assert not unknown, f"{line}: {unknown}"


# -- completion ----------------------------------------------------------------------------------------------


def completed(*words, monkeypatch, capsys, cwd=ROOT):
    """What bash is given for `covid-monai WORDS` with the cursor behind the last."""
    monkeypatch.chdir(cwd)
    monkeypatch.setenv("_COVID_MONAI_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(["covid-monai", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    with pytest.raises(SystemExit):
        app(prog_name="covid-monai")
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("pre",), {"predict"}),
        (("data", ""), {"audit", "deidentify", "prepare", "phantom"}),
        (("predict", "--backend", ""), set(BACKENDS)),
        (("predict", "--bundle", "bun"), {str(SHIPPED_BUNDLE), str(LUNG_BUNDLE)}),
        (("data", "prepare", ""), set(SOURCES)),
        (("data", "prepare", "--classes", ""), set(DEFAULT_CLASS_NAMES)),
        (("data", "prepare", "--classes", "normal,p"), {"normal,pneumonia"}),
        (("data", "prepare", "--validation-order", ""), set(VALIDATION_ORDERS)),
        (("data", "phantom", "--format", ""), set(IMAGE_FORMATS)),
        (("data", "deidentify", "--retain", ""), set(map(str, Retain))),
        (("compare", "--split", ""), set(SPLITS) - {"training"}),
        (("experiment", "--set", "max_e"), {"max_epochs="}),
    ],
)
def test_the_shell_completes(monkeypatch, capsys, words, expected):
    assert set(completed(*words, monkeypatch=monkeypatch, capsys=capsys)) == expected


def test_a_bundle_is_found_two_levels_below_and_named_as_it_was_typed(monkeypatch, capsys, tmp_path):
    for folder in ("runs/a/one", "runs/b", "runs/no bundle"):
        (tmp_path / folder / "configs").mkdir(parents=True)
    for folder in ("runs/a/one", "runs/b"):
        (tmp_path / folder / "configs" / "inference.yaml").touch()
    found = completed("predict", "--bundle", "./ru", monkeypatch=monkeypatch, capsys=capsys, cwd=tmp_path)
    assert found == ["./runs/a/one", "./runs/b"]


@pytest.mark.parametrize("words", [("predict", "--bundle", "bun"), ("data", "prepare", "k"), ("pre",)])
def test_completion_loads_nothing_heavy(words):
    code = """
import atexit, sys
from covid_monai.cli.main import main
sys.argv = ["covid-monai"]
heavy = ("torch", "monai", "pydicom", "numpy", "PIL", "rich")
atexit.register(lambda: print("heavy:", [name for name in heavy if name in sys.modules]))
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ
        | {
            "_COVID_MONAI_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["covid-monai", *words]),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.stdout.splitlines()[-1] == "heavy: []", done.stdout + done.stderr


def test_bash_completes_with_the_script_that_is_installed(tmp_path):
    names = {"prog_name": "covid-monai", "complete_var": "_COVID_MONAI_COMPLETE"}
    script = tmp_path / "completion.sh"
    script.write_text(typer.completion.get_completion_script(shell="bash", **names))
    program = Path(sys.executable).with_name("covid-monai")
    typed = f"""
source {script}
COMP_WORDS=(covid-monai predict --backend open) COMP_CWORD=3
function=$(complete -p covid-monai | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function {program}
echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "openvino", done.stderr


# -- mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["predikt"], "Did you mean 'predict'?"),
        (["data", "prepar"], "Did you mean 'prepare'?"),
        (["predict", "--outptu", "x.csv", "{image}"], "Possible options:"),
        (["predict", "--backend", "openvin", "{image}"], "Did you mean 'openvino'?"),
        (["data", "prepare", "kermny", "x", "--output", "{tmp}/list.json"], "Did you mean 'kermany'?"),
        (["data", "phantom", "{tmp}/p", "--format", "dicm"], "Did you mean 'dicom'?"),
        (["data", "phantom", "{tmp}/p", "--marker", "covd"], "Did you mean 'covid'?"),
        (
            [
                *("data", "prepare", "folder", "{classes}", "--output", "{tmp}/l.json"),
                *("--classes", "normal,other=pneumonia+covd"),
            ],
            "Did you mean 'covid'?",
        ),
        (
            ["data", "prepare", "folder", "{tmp}", "--output", "{tmp}/l.json", "--validation-order", "randm"],
            "Did you mean 'random'?",
        ),
        (
            [
                *("experiment", "{root}/configs/experiments/s1.yaml", "--data", "{tmp}"),
                *("--output", "{tmp}/o", "--set", "max_epoch=1"),
            ],
            "Did you mean 'max_epochs'?",
        ),
    ],
)
def test_a_mistyped_word_gets_a_suggestion(run, tmp_path, tmp_path_factory, arguments, suggestion):
    (tmp_path / "image.png").touch()
    classes = tmp_path_factory.mktemp("classes")
    for name in ("normal", "covid"):
        (classes / name).mkdir()
        (classes / name / "image.png").touch()
    places = {"tmp": tmp_path, "image": tmp_path / "image.png", "root": ROOT, "classes": classes}
    code, out, err = run(*(argument.format(**places) for argument in arguments))
    assert (code, out) == (2, "")
    assert suggestion in err.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["image.png"]


# -- JSON ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_command_with_json_prints_one_document_and_nothing_else(run, tmp_path):
    datalist = tmp_path / "phantoms" / "datalist.json"
    options = ("--patients", 18, "--size", 64, "--no-ct", "--json")
    code, out, _ = run("data", "phantom", datalist.parent, *options)
    document = json.loads(out)
    assert code == 0
    assert document["datalist"] == str(datalist)
    assert sum(split["patients"] for split in document["splits"].values()) == 18
    assert document["splits"]["test"]["classes"].keys() == {"normal", "pneumonia", "covid"}

    pictures = tmp_path / "pictures"
    for name in ("normal", "covid"):
        (pictures / name).mkdir(parents=True)
    content = json.loads(datalist.read_text())
    for split in SPLITS:
        for item in content[split]:
            if content["labels"][str(item["label"])] in ("normal", "covid"):
                name = content["labels"][str(item["label"])]
                os.link(datalist.parent / item["image"], pictures / name / Path(item["image"]).name)
    (pictures / "covid" / "broken.png").write_text("no image")
    options = ("--output", tmp_path / "list.json", "--json")
    code, out, _ = run("data", "prepare", "folder", pictures, *options)
    assert code == 0
    assert list(json.loads(out)["excluded"].values()) == [1]

    code, out, _ = run(
        "data", "audit", datalist, "--output", tmp_path / "audit", "--json", "--no-confounding"
    )
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "audit" / "audit.json").read_text())


def test_a_failure_leaves_the_standard_output_empty(run, tmp_path):
    code, out, err = run("data", "audit", tmp_path / "no.json", "--output", tmp_path / "audit", "--json")
    assert (code, out) == (2, "")
    assert "no.json" in err


def test_the_documentation_names_every_command_with_json():
    page = (ROOT / "docs" / "command-line.md").read_text()
    having = {
        " ".join(path)
        for path, command in COMMANDS.items()
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert having == set(yaml.safe_load(page.split("<!-- --json:")[1].split("-->")[0]))
