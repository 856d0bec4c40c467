"""Bars of long work: on a terminal's standard error, with speed and time left, and nowhere else."""

import os
import pty
import re
import subprocess
import sys

import pytest

from covid_monai.core.progress import progress_bar, with_progress

WORK = """
import time
from covid_monai.core.progress import progress_bar, with_progress
for item in with_progress(range(40), "looking at images"):
    time.sleep(0.03)
with progress_bar("packing", total=2, unit="steps") as bar:
    bar.advance()
    bar.describe("wrapping")
    time.sleep(0.2)
print("done")
"""


def on_a_terminal(**environment):
    """Standard output and standard error of the work, with a terminal for the latter."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", WORK],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"} | environment,
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 2**16)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            seen += part
        out = process.stdout.read().decode()
        assert process.wait(timeout=60) == 0
    os.close(ours)
    return out, seen.decode()


@pytest.mark.slow
def test_a_person_sees_count_speed_and_time_left():
    out, err = on_a_terminal(NO_COLOR="1")
    assert out == "done\n"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    assert re.search(r"looking at images .* \d+/40 +\d+\.\d images/s +0:00:0\d", plain), plain
    assert "wrapping" in plain
    assert "1/2" in plain
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", err)  # no colour asked for


@pytest.mark.slow
def test_a_terminal_without_no_color_has_colours():
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", on_a_terminal(NO_COLOR="")[1])


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}])
def test_a_pipe_sees_nothing(environment):
    done = subprocess.run(
        [sys.executable, "-c", WORK], capture_output=True, text=True, env=os.environ | environment, timeout=60
    )
    assert (done.stdout, done.stderr.strip()) == ("done\n", "")


def test_items_pass_and_what_they_raise_passes_too(capsys):
    assert list(with_progress(iter("abc"), "spelling", total=3)) == ["a", "b", "c"]
    with pytest.raises(ZeroDivisionError), progress_bar("failing", 1):
        raise ZeroDivisionError
    assert capsys.readouterr() == ("", "")
