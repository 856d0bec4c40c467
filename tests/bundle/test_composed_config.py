"""The config that a run is made of, and names in it that nothing reads."""

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from hostile_text import texts
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser, ConfigWorkflow

from covid_monai.bundle.composed_config import (
    check_names,
    composed_config,
    fill_in_values,
    run_workflow,
)

CONFIGS = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification" / "configs"
CONFIG = {
    "_meta_": {"version": "1"},
    "rate": 0.1,
    "records": "$[{'image': 'patient.png'}]",
    "names": "$['a', 'b']",
    "part": {"_target_": "dict", "lr": "@rate", "unread": 3, "names": "@names", "nothing": None},
    "section": {"inner": {"_target_": "dict", "part": "@part", "rate": "$@rate * 2"}},
    "ids": "$__local_refs",
    "run": ["$@section::inner", "$@records"],
}


def parser_of(**changes):
    parser = ConfigParser(deepcopy(CONFIG))
    parser.update(changes)
    return parser


def resolve(parser):
    """Resolve the steps of `run`, and return what the parser has resolved."""
    for step in range(len(parser["run"])):
        parser.get_parsed_content(f"run::{step}")
    return parser.get_parsed_content("ids")


def test_the_config_is_found_among_others_with_its_overrides_and_without_metadata():
    other, parser = parser_of(), parser_of(rate=0.5, part=CONFIG["part"] | {"unread": 4})
    resolve(other)
    found = composed_config(resolve(parser))
    assert (found["rate"], found["part"]["unread"]) == (0.5, 4)
    assert found["section"] == CONFIG["section"]
    assert "_meta_" not in found


def test_values_stand_for_references_and_expressions_and_no_record_comes_in():
    parser = parser_of()
    ids = resolve(parser)
    filled = fill_in_values(composed_config(ids), ids)
    plain = {"lr": 0.1, "unread": 3, "names": ["a", "b"], "nothing": None}
    assert filled["part"] == {"_target_": "dict"} | plain
    assert filled["section"]["inner"] == {"_target_": "dict", "part": "@part", "rate": 0.2}
    assert filled["records"] == CONFIG["records"]
    assert "patient" not in str(filled).replace(str([CONFIG["records"]])[1:-1], "")
    assert parser["part"]["lr"] == "@rate"  # the config itself is as it was
    assert "&" not in yaml.safe_dump(filled)


@pytest.mark.slow
@given(text=texts, names=st.lists(texts, max_size=3))
def test_a_text_that_looks_like_code_is_none_in_the_filled_config(text, names):
    parser = parser_of(rate="$text", names="$all_names", section={}, run=["$@part"])
    parser.globals |= {"text": text, "all_names": names}  # in an expression MONAI would read "@" and "#"
    ids = resolve(parser)
    filled = fill_in_values(parser.config, ids)
    again = ConfigParser({"rate": filled["rate"], "part": filled["part"]}).get_parsed_content("part")
    assert (again["lr"], again["names"]) == (text, names)


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """A config that writes its settings into a file."""
    folder = tmp_path_factory.mktemp("echo")
    config = {"imports": ["$import json"], "out": None, "value": None, "values": None, "more": None}
    run = "$open(@out, 'w').write(json.dumps([@value, @values, @more, str(@value) + '!']))"
    (folder / "echo.yaml").write_text(yaml.safe_dump({**config, "run": [run]}))
    return folder / "echo.yaml"


@pytest.mark.slow
@given(text=texts, values=st.lists(texts | st.integers(), max_size=3))
def test_data_of_a_run_arrive_as_they_are_and_changes_are_config(echo, text, values):
    out = echo.parent / "$open('x','w') @value #1 %x.json"
    data = {"out": out, "value": text, "values": values}
    run_workflow([echo], workflow_type="infer", data=data, changes={"more": "$1 + 1", "value": "$1 / 0"})
    assert json.loads(out.read_text()) == [text, values, 2, f"{text}!"]


def check(parser, tmp_path):
    (tmp_path / "own.yaml").write_text("ids: 0\nnames: 0\nunread_now: 0\nsection: {kept: 0}\n")
    check_names(parser.get_parsed_content("ids"), tmp_path / "own.yaml")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rates": 1}, r"'rates' is unknown: nothing in the config reads it\. Did you mean 'rate'\?"),
        ({"section::iner": 1}, r"'section::iner' is unknown.*Did you mean 'section::inner'\?"),
        ({"unread_nov": 1}, r"'unread_nov' is unknown.*Did you mean 'unread_now'\?"),
        ({"new": {"_target_": "Dataset", "data": []}}, "'new' is unknown"),
        ({"part": {"_target_": "Dataset", "dat": []}}, "setting of part 'dat'. Did you mean 'data'"),
        ({"section::inner::list": [{"_target_": "Dataset", "x": 1}]}, "of section::inner::list::0 'x'"),
    ],
)
def test_a_name_that_nothing_reads_is_refused_with_the_nearest_one(change, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        check(parser_of(**change), tmp_path)
    assert str(error.value).lower().count("unknown") == 1


def test_names_that_something_reads_are_fine(tmp_path):
    more = {"new": 1, "whole": {"any": 1}, "study": {"title": "x"}, "finalize": ["$1"]}
    more |= {"unread_now": 2, "my_run": ["$print(1)"], "section::kept": {"_target_": "Dataset", "data": []}}
    more["run"] = [*CONFIG["run"], "$@new + len(@whole)"]
    check(parser_of(**more), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "evaluate", "inference"])
@pytest.mark.parametrize("setting", ["max_epoch", "batchsize", "class_name", "output_dirs"])
def test_every_config_of_the_bundle_refuses_a_mistyped_setting_and_has_none_itself(name, setting):
    files = [CONFIGS / f"{name}.yaml", *([CONFIGS / "multi_gpu_train.yaml"] if name == "train" else [])]
    root = str(CONFIGS.parent)
    settings = {"bundle_root": root, setting: 1}
    workflow = ConfigWorkflow(config_file=[str(file) for file in files], logging_file=False, **settings)
    with pytest.raises(RuntimeError) as error:
        workflow.initialize()
    assert str(error.value.__cause__).startswith(f"The setting {setting!r} is unknown")
    assert str(error.value.__cause__).count("unknown") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max_epoch", "3"], "The setting 'max_epoch' is unknown: nothing in the config reads it."),
        (["--config_file", str(CONFIGS / "train.yaml")], "--config_file is given twice"),
    ],
)
def test_the_program_ends_with_one_line(arguments, message, tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "training", "--config_file"]
    command += [CONFIGS / "train.yaml", "--bundle_root", CONFIGS.parent, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(message)
    assert "Traceback" not in done.stdout + done.stderr
