"""Every block of commands in the README and the documents is run where it can be, and checked where not."""

import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from contextlib import nullcontext
from pathlib import Path

import pytest
from docs_blocks import PAGES, ROOT, Block, blocks, check, check_ours, commands, spans
from docs_example_files import make_place
from docs_programs import Programs
from filelock import FileLock

LANGUAGES = {"bash", "python", "text", "json", "csv", "yaml", "nginx"}
BLOCKS = {page: blocks(page) for page in PAGES}
NOT_RUN = [block for page in PAGES for block in BLOCKS[page] if block.marker == "not run"]
WITH_COMMANDS = [page for page in PAGES if any(b.language in ("bash", "python") for b in BLOCKS[page])]
# Small enough for seconds; what a page sets itself stays as it is, but for these.
SMALLER = {
    "network_name": "resnet10",
    "image_size": 64,
    "batch_size": 8,
    "max_epochs": 1,
    "freeze_epochs": 0,
    "pretrained": "$None",
    "precision": "fp32",
    "num_workers": 1,
}


def test_every_block_says_what_it_is():
    unknown = [str(b) for page in PAGES for b in BLOCKS[page] if b.language not in LANGUAGES]
    assert not unknown, "a block without a language is neither run nor known to be no command"


def test_no_command_hides_in_a_block_of_text():
    command = re.compile(r"^\s*(covid-monai|python -m|make|torchrun|pip|curl) ", re.MULTILINE)
    others = [b for page in PAGES for b in BLOCKS[page] if b.language in ("text", "json", "csv", "yaml")]
    assert not [str(block) for block in others if command.search(block.text)]


def test_few_blocks_are_not_run_and_each_says_why():
    everything = [b for page in PAGES for b in BLOCKS[page] if b.language in ("bash", "python")]
    assert len(NOT_RUN) <= 30
    assert len(everything) >= 2 * len(NOT_RUN)
    for block in NOT_RUN:
        assert len(block.why.split()) >= 3, f"{block} does not say why it is not run"
        for test in re.findall(r"tests/\w+\.py", block.why):
            assert (ROOT / test).is_file(), f"{block}: {test} is not there"


@pytest.mark.parametrize("block", [b for b in NOT_RUN if b.language == "bash"], ids=str)
def test_commands_that_are_not_run_have_their_options_targets_and_files(block, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # whatever happens
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, timeout=60)
    assert list(commands(block.text))
    _check_all(block.text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_within_text_have_their_options(page):
    for span in spans(page):
        if span.startswith("covid-monai ") and "|" not in span:
            for command in commands(span.replace("[", "").replace("]", "")):
                check_ours(command[1:], whole=False)


def test_the_check_notices_what_is_wrong():
    for wrong in (
        "covid-monai predict --no-such image.dcm",
        "covid-monai evaluate --bundle runs/my",
        "make no-such-target",
        "python -m monai.bundle run --config_file configs/hardware/gpu.yaml --no_such 1",
        "pip install 'covid-monai[nosuch]'",
        "cp deploy/no-such.yaml /etc",
        "nobody-knows-this",
    ):
        with pytest.raises(Exception, match=r"\w"):
            _check_all(wrong)


def _check_all(text: str) -> None:
    for command in commands(text):
        check(command)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("docs") / "covid_monai"
    place.mkdir()
    make_place(place)
    return place


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Where the blocks run; their training is small, their network is kept for all pages."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "home").mkdir()
    here = {"HOME": str(folder / "home"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    here["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlruns.db'}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in here.items():
            patch.setenv(name, value)
        programs = Programs(folder, smaller=SMALLER)
        patch.setenv("PATH", f"{programs.folder}:{os.environ['PATH']}")
        yield dict(os.environ)
        programs.stop()


@pytest.fixture(scope="module")
def done(place, environment):
    """Blocks that have run, here or on another page; first what most pages take for granted, a run."""
    (block,) = [b for b in BLOCKS[ROOT / "README.md"] if "data prepare dicom-folder" in b.text]
    _run(block, place, environment)
    return {block.text}


@pytest.fixture
def one_at_a_time(page):
    """The ports are those of the text: whoever else tests on this machine waits, if the page has a server."""
    serves = any(block.marker == "serves" for block in BLOCKS[page])
    with FileLock(Path(tempfile.gettempdir()) / "covid_monai_docs.lock") if serves else nullcontext():
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run_as_they_stand(page, place, environment, done):
    servers = []
    try:
        for block in BLOCKS[page]:
            if block.marker == "not run" or block.language not in ("bash", "python"):
                continue
            if block.marker == "serves":
                servers.append(_start(block, place, environment))
            elif block.text not in done:
                _run(block, place, environment)
                done.add(block.text)
    finally:
        for server in servers:
            server.terminate()
            server.wait(timeout=60)


def _run(block: Block, place: Path, environment: dict) -> None:
    for run in re.findall(r"(?:--output_dir|covid-monai train .*--output) (runs/\w+)", block.text):
        shutil.rmtree(place / run, ignore_errors=True)  # a page before may have made one of that name
    script = place.parent / "block"
    script.write_text(block.text)
    ways = {"bash": ["bash", "-e", "-o", "pipefail", str(script)], "python": ["python", str(script)]}
    began = time.monotonic()
    done = subprocess.run(
        ways[block.language], cwd=place, env=environment, capture_output=True, text=True, timeout=300
    )
    print(f"{block}: {time.monotonic() - began:.1f} s")
    said = f"{block}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, said
    assert "Traceback" not in said, said


def _start(block: Block, place: Path, environment: dict) -> subprocess.Popen:
    server = subprocess.Popen(["bash", "-c", f"exec {block.text}"], cwd=place, env=environment)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(block.why, timeout=5)
        except OSError:
            time.sleep(0.1)
        else:
            return server
    server.kill()
    pytest.fail(f"{block}: nothing answered at {block.why}")
