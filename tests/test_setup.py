"""The pins of constraints.txt, environment.yml and pyproject.toml say the same."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def _name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().split()
    return {_name(line.split("==")[0]): line.split("==")[1] for line in lines}


@pytest.fixture(scope="module")
def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["train"]]


def test_conda_environment_has_the_pins_of_constraints(pins, requirements):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    listed = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    conda = {_name(line.split("==")[0]): line.split("==")[1] for line in listed if "==" in line}
    assert conda == {name: pins[name] for name in conda}
    assert set(conda) == {_name(requirement.name) for requirement in requirements}


def test_every_requirement_is_pinned_within_its_range(pins, requirements):
    for requirement in requirements:
        assert requirement.specifier.contains(pins[_name(requirement.name)]), requirement


def test_the_environment_runs_the_pins(pins, requirements):
    for requirement in requirements:
        assert version(requirement.name).split("+")[0] == pins[_name(requirement.name)]


def test_no_cuda_package_is_pinned(pins):
    assert not [name for name in pins if name.startswith(("nvidia-", "cuda-", "triton"))]
