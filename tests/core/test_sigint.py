"""Ctrl-C that waits, in a process of its own: workers of a test run must not be interrupted."""

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import signal, sys
from covid_monai.core.sigint import defer_sigint
try:
    with defer_sigint():
        for _ in range(int(sys.argv[1])):
            signal.raise_signal(signal.SIGINT)
        print("whole")
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize(
    ("presses", "handler", "said"),
    [
        (0, signal.SIG_DFL, ["whole"]),
        (1, signal.SIG_DFL, ["whole", "stopped"]),
        (2, signal.SIG_DFL, ["stopped"]),
        (2, signal.SIG_IGN, ["whole"]),  # as a shell starts background jobs
    ],
)
def test_ctrl_c_takes_effect_after_the_block_or_at_once_when_it_comes_twice(presses, handler, said):
    command = [sys.executable, "-c", SCRIPT, str(presses)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )
    assert done.stdout.split() == said
