"""Pins, hashes, lower bounds and conda's list say the same, and the audit of packages says what it found."""

import os
import re
import subprocess
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def _name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def _pins(path: str) -> dict[str, str]:
    """Return the versions of a list of pins or of a lock file by name."""
    found = re.findall(r"^([\w.-]+)(?:\[.*?\])?==([^ \\\n]+)", (ROOT / path).read_text(), flags=re.M)
    return {_name(name): number for name, number in found}


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    return _pins("constraints.txt")


@pytest.fixture(scope="module")
def minimum() -> dict[str, Requirement]:
    lines = (ROOT / "minimum-versions.txt").read_text().splitlines()
    found = [Requirement(line.partition("#")[0]) for line in lines if not line.startswith("#")]
    return {_name(requirement.name): requirement for requirement in found}


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


LISTS = {
    "requirements.lock": "constraints.txt",
    "deploy/monailabel/requirements.lock": "deploy/monailabel/requirements.txt",
}


@pytest.mark.parametrize(("lock", "pinned"), LISTS.items(), ids=str)
def test_a_lock_file_has_the_pins_of_its_list(lock, pinned):
    assert _pins(lock) == {name: number for name, number in _pins(pinned).items() if name != "torch"}


def test_the_cpu_build_of_torch_is_locked_in_the_pinned_version(pins):
    assert _pins("torch-cpu.lock") == {"torch": f"{pins['torch']}+cpu"}


def test_the_image_of_the_worker_has_what_its_extras_ask_for_and_nothing_but_pins(pins):
    locked, waiting, needed = (
        _pins("deploy/worker/requirements.lock"),
        [("covid-monai", ("fast", "worker"))],
        set(),
    )
    assert locked.items() <= pins.items()
    while waiting:
        name, extras = waiting.pop()
        for item in map(Requirement, requires(name) or ()):
            wanted = item.marker is None or any(item.marker.evaluate({"extra": e}) for e in ("", *extras))
            key = (_name(item.name), tuple(item.extras))
            if wanted and key not in needed and key[0] != "torch":
                needed.add(key)
                waiting.append(key)
    assert {name for name, _ in needed} - {"covid-monai"} <= set(locked)


@pytest.mark.parametrize("lock", [*LISTS, "deploy/worker/requirements.lock", "torch-cpu.lock"])
def test_every_line_of_a_lock_file_is_a_pin_or_its_hash(lock):
    text = (ROOT / lock).read_text()
    pin = r"[\w.-]+(\[\w+\])?==[\w.+!-]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.fullmatch(f"({pin})+", text), "an option, an address or a pin without a hash"


def test_every_pin_is_above_the_versions_with_known_vulnerabilities(pins, minimum):
    for listed in (pins, _pins("deploy/monailabel/requirements.txt")):
        for name, requirement in minimum.items():
            assert name not in listed or requirement.specifier.contains(listed[name]), requirement


def test_no_requirement_allows_a_version_with_a_known_vulnerability(minimum):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    texts = [text for group in groups for text in group] + project["build-system"]["requires"]
    for requirement in map(Requirement, texts):
        safe = minimum.get(_name(requirement.name))
        lower = [part.version for part in requirement.specifier if part.operator == ">="]
        if safe:
            assert safe.specifier.contains(lower[0]), f"{requirement} allows less than {safe}"
            excluded = {str(part) for part in safe.specifier if part.operator == "!="}
            assert all(not requirement.specifier.contains(part[2:]) for part in excluded), requirement
    named = {_name(Requirement(text).name) for text in texts}
    assert {"pillow", "jinja2", "torch", "setuptools", "mlflow", "urllib3", "starlette"} <= named & set(
        minimum
    )


FOUND = "Found 1 known vulnerability in 1 package\nname version id\nx 1 CVE-1"
OFFLINE = "requests.exceptions.ConnectionError: Failed to resolve"
AUDITS = [
    ("exit 0", 0, "no known vulnerability"),
    (f"echo '{FOUND}' >&2; exit 1", 1, "CVE-1"),
    (f"echo '{OFFLINE}' >&2; exit 1", 0, "cannot be reached"),
    ("echo 'ERROR: Could not connect to the feed' >&2; exit 1", 0, "cannot be reached"),
    ("echo 'x is not pinned' >&2; exit 1", 1, "could not read"),
]


@pytest.mark.parametrize(("behaviour", "code", "words"), AUDITS, ids=[words for _, _, words in AUDITS])
def test_the_audit_fails_for_a_vulnerability_and_not_without_a_network(tmp_path, behaviour, code, words):
    program = tmp_path / "pip-audit"
    program.write_text(f'#!/bin/bash\necho "$@" > {tmp_path}/options\n{behaviour}\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [ROOT / ".ci" / "audit_packages", "constraints.txt"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert (done.returncode, words in done.stdout) == (code, True), done.stdout + done.stderr
    options = (tmp_path / "options").read_text()
    assert "--ignore-vuln=CVE-2026-56445" in options
    assert "--requirement constraints.txt" in options


def test_the_audit_passes_where_its_program_is_missing():
    done = subprocess.run(
        ["/bin/bash", ROOT / ".ci" / "audit_packages", "constraints.txt"],
        capture_output=True,
        text=True,
        env={"PATH": "/nowhere"},
    )
    assert (done.returncode, "no package was audited" in done.stdout) == (0, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("STUDIES", text)
            for text in ("$(shell touch ran)", "$$(touch ran)", "`touch ran`", "$(touch ran)")
        ),
        *(
            ("STUDIES", text)
            for text in ('"; touch ran; "', "'; touch ran; '", "x; touch ran", "$$PATH", "a b")
        ),
        *(("STUDIES", text) for text in ("http; touch ran", "httpd", "-e", "$(error x)", "#", "\\", "*")),
        *(("PORT", text) for text in ("$(shell touch ran)", "1; touch ran", "`touch ran`", "", "-1", "8e3")),
    ],
)
def test_make_runs_nothing_of_a_name_that_a_user_gives(name, text, tmp_path):
    """On the command line and in the environment; the folder does not exist, so make ends by saying so."""
    command = ["make", "-f", ROOT / "Makefile", "-o", "setup", "-o", "monailabel-environment", "monailabel"]
    folder = [] if name == "STUDIES" else [f"STUDIES={tmp_path}"]
    for variables, environment in ([f"{name}={text}"], {}), ([], {name: text}):
        done = subprocess.run(
            [*command, *folder, *variables],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2
        assert (f"No folder {text}: " if name == "STUDIES" else "PORT is not a number") in done.stdout
        assert not list(tmp_path.iterdir())


def test_what_the_server_of_monai_label_writes_is_for_its_owner_alone(tmp_path):
    """It names images in its log and its labels, and leaves their modes to the umask."""
    command = [
        "make",
        "-n",
        "-f",
        ROOT / "Makefile",
        "-o",
        "setup",
        "-o",
        "monailabel-environment",
        "monailabel",
    ]
    done = subprocess.run([*command, f"STUDIES={tmp_path}"], cwd=tmp_path, capture_output=True, text=True)
    lines = done.stdout.replace("\\\n", " ").splitlines()
    [server] = [line for line in lines if "start_server" in line]
    assert server.strip().startswith("umask 077 && ")
