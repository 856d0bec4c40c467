"""A child process with limits that reads a file first, so that no file can end or block the calling process.

A deflate bomb, sequences nested a thousand deep or a crash of a decoder ends only the child; the next file
gets a new one. A file that the child has read within its limits is then read again by the caller.
"""

import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from covid_monai.core.vocabulary import DecoderNotStarted, RefusedImage, Status, UnreadableImage
from covid_monai.dicom.pixels.decoder_process import end_child, open_answers, start_child, wait_until_readable

_PYTHON_AND_NUMPY_MIB = 512  # address space of the child before it reads anything


class SandboxResult(NamedTuple):
    """Outcome of reading a file; unless it is ok, with a reason in one word and in one sentence."""

    status: Status
    reason: str | None = None
    detail: str | None = None


class DecodeSandbox:
    """A child process that reads one file after another; calls from several threads wait for each other.

    Args:
        seconds: Longest time for one file.
        memory_mib: Address space for reading, in MiB.
        target_size: Target size of the caller's reader. Reading at a reduced size may take another decoder,
            so the child reads both ways; None reads the whole image only.
    """

    def __init__(self, *, seconds: float, memory_mib: int, target_size: int | None = None) -> None:
        self._seconds = seconds
        self._memory_mib = memory_mib
        self._target_size = target_size
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def check(self, path: Path) -> SandboxResult:
        """Read a file in the child, as the caller will read it.

        Raises:
            DecoderNotStarted: If there is no child, for example because memory or processes have run out.
        """
        with self._lock:
            child = self._running_child()
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                child.stdin.write(os.fsencode(path) + b"\n")
                child.stdin.flush()
                if not wait_until_readable(child.stdout, self._seconds):
                    detail = f"Reading the file takes more than {self._seconds:g} s."
                    return self._failed("too_slow", detail)
                answer = child.stdout.readline()
            except BrokenPipeError:
                answer = b""
            if not answer:
                return self._failed("decoder_crashed", "Reading the file ends the process that reads it.")
            status, reason, detail = json.loads(answer)
            if reason == DecoderNotStarted.__name__:
                raise DecoderNotStarted(detail)
            return SandboxResult(Status(status), reason, detail)

    def _failed(self, reason: str, detail: str) -> SandboxResult:
        self._end()
        return SandboxResult(Status.ERROR, reason, detail)

    def _running_child(self) -> "subprocess.Popen[bytes]":
        if self._child is None or self._child.poll() is not None:
            limits = (self._memory_mib, math.ceil(self._seconds) + 1, self._target_size or 0)
            self._child = start_child(__name__, *map(str, limits))
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            end_child(self._child)
            self._child = None

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()


def _try_to_read(path: str, target_size: int) -> tuple[str, str | None, str | None]:
    from covid_monai.core.errors import exception_chain, first_line
    from covid_monai.readers.radiograph import read_radiograph

    try:
        read_radiograph(path)
        if target_size:
            read_radiograph(path, target_size=target_size)
    except RefusedImage as error:
        return Status.REFUSED, str(error.reason), error.detail
    except DecoderNotStarted as error:
        return Status.ERROR, DecoderNotStarted.__name__, first_line(error)
    except (UnreadableImage, MemoryError) as error:
        if any(isinstance(cause, MemoryError) for cause in exception_chain(error)):
            return Status.ERROR, "too_much_memory", "Reading the file takes more memory than is allowed."
        return Status.ERROR, "unreadable", first_line(error)
    return Status.OK, None, None


def _serve(memory_mib: int, seconds: int, target_size: int) -> None:
    """Answer paths on the standard input until it closes, which it does when the parent dies."""
    import warnings

    import covid_monai.readers.radiograph  # noqa: F401 (loaded before the time of the first file starts)

    warnings.simplefilter("ignore")
    answers = open_answers((memory_mib + _PYTHON_AND_NUMPY_MIB) << 20)
    for line in sys.stdin.buffer:
        signal.alarm(seconds)  # ends a child whose parent was killed meanwhile
        answer = _try_to_read(os.fsdecode(line.rstrip(b"\n")), target_size)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
        signal.alarm(0)


if __name__ == "__main__":
    _serve(*map(int, sys.argv[1:]))
