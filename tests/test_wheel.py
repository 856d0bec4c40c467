"""The wheel in an environment without a clone: the bundles come with it, and every surface starts."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("covid_monai", "bundles", "pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The command of an environment with our wheel, and with the packages of this one but no clone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for path in map(ROOT.joinpath, SOURCES):
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, source / path.name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "--wheel-dir", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "environment"], check=True)
    (packages,) = (folder / "environment" / "lib").glob("python*/site-packages")
    target = ["--python", folder / "environment" / "bin" / "python"]
    subprocess.run([*pip, *target, "install", *options, wheel], check=True)
    # A path in a .pth file brings packages, but not the clone that this environment is linked to.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    shutil.rmtree(source)
    return folder / "environment" / "bin" / "covid-monai"


@pytest.fixture(scope="module")
def start(installed, tmp_path_factory):
    """Start the command in an empty folder, without paths to the clone and without the network."""
    folder = tmp_path_factory.mktemp("elsewhere")
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    environment = kept | nowhere | {"no_proxy": "127.0.0.1", "OMP_NUM_THREADS": "1"}

    def run(*words, **options):
        return subprocess.Popen(
            [str(installed), *map(str, words)],
            cwd=folder,
            env=environment,
            text=True,
            **options,
        )

    return run


def finish(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-3000:]
    return out, err


@pytest.fixture(scope="module")
def phantoms(start):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    words = ("data", "phantom", "phantoms", "--patients", 40, "--size", 256, "--no-ct")
    out, _ = finish(start(*words, **pipes))
    return out


@pytest.mark.usefixtures("phantoms")
def test_the_first_prediction(start):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    begin = time.monotonic()
    out, _ = finish(start("predict", "--json", "phantoms", **pipes))
    assert time.monotonic() - begin < 120
    records = [json.loads(line) for line in out.splitlines()]
    assert len(records) >= 40
    assert {record["model"]["name"] for record in records} == {"covid_cxr_classification"}
    found = [record for record in records if record["status"] == "ok"]
    assert found
    assert all(record["quality"]["found"] for record in found)  # the lung bundle came with the wheel


def test_the_printed_command_trains_and_the_next_one_evaluates(start, phantoms):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    (command,) = re.findall(r"^Next: covid-monai (.*)$", phantoms, re.MULTILINE)
    small = [
        word
        for name in ("max_epochs=1", "network_name=resnet10", "image_size=64")
        for word in ("--set", name)
    ]
    out, err = finish(start(*command.split(), *small, **pipes))
    lines = [*out.splitlines(), *err.splitlines()]
    assert sum("Epoch 1/1" in line for line in lines) == 1
    assert "\r" not in out + err
    assert not [line for line in lines if not re.match(r"\d\d:\d\d:\d\d  ", line)]  # no library speaks
    (command,) = re.findall(r"covid-monai (evaluate .*)$", out, re.MULTILINE)
    out, _ = finish(start(*command.split(), **pipes))
    assert "Report: " in out


@pytest.mark.parametrize("command", ["serve", "app"])
def test_servers_answer(start, tmp_path, command):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = start(command, "--port", port, stdout=file, stderr=file)
    try:
        for _ in range(120):
            assert process.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
                    assert answer.status == 200
                break
            except OSError:
                time.sleep(0.5)
        else:
            raise AssertionError(log.read_text())
    finally:
        process.terminate()
        process.wait(30)
