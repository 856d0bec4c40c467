"""A child process with limits that reads a file first, so that no file can end or block the calling process.

A deflate bomb, sequences nested a thousand deep or a crash of a decoder ends only the child; the next file
gets a new one. A file that the child has read within its limits is then read again by the caller.
"""

import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

from covid_monai.core.vocabulary import DecoderNotStarted, RefusedImage, Status, UnreadableImage

_PYTHON_AND_NUMPY_MIB = 512  # address space of the child before it reads anything
_START_SECONDS = 120.0  # longest time until the child can read


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
        self._child: subprocess.Popen[str] | None = None
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
                child.stdin.write(f"{path}\n")
                child.stdin.flush()
                if not select.select([child.stdout], [], [], self._seconds)[0]:
                    detail = f"Reading the file takes more than {self._seconds:g} s."
                    return self._failed("too_slow", detail)
                answer = child.stdout.readline()
            except BrokenPipeError:
                answer = ""
            if not answer:
                return self._failed("decoder_crashed", "Reading the file ends the process that reads it.")
            status, reason, detail = json.loads(answer)
            if reason == DecoderNotStarted.__name__:
                raise DecoderNotStarted(detail)
            return SandboxResult(Status(status), reason, detail)

    def _failed(self, reason: str, detail: str) -> SandboxResult:
        self._end()
        return SandboxResult(Status.ERROR, reason, detail)

    def _running_child(self) -> "subprocess.Popen[str]":
        if self._child is None or self._child.poll() is not None:
            # One thread each: the address space of idle threads' stacks counts, too.
            environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")}
            limits = (self._memory_mib, math.ceil(self._seconds) + 1, self._target_size or 0)
            command = [sys.executable, "-m", "covid_monai.readers.sandbox", *map(str, limits)]
            try:
                self._child = subprocess.Popen(  # noqa: S603
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
                    start_new_session=True,  # Ctrl-C in a terminal is for the parent
                )  # fmt: skip
            except OSError as error:
                raise DecoderNotStarted(
                    f"The decode process cannot be started ({error.strerror})."
                ) from error
            answers = self._child.stdout
            assert answers is not None
            # Ready: the start of the child does not count as the file's time.
            if not select.select([answers], [], [], _START_SECONDS)[0] or not answers.readline():
                self._end()
                raise DecoderNotStarted("The decode process ends or blocks before it reads any file.")
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
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
    limit = (memory_mib + _PYTHON_AND_NUMPY_MIB) << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the patient's image
    answers: Any = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # decoders print to the standard output at times
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        signal.alarm(seconds)  # ends a child whose parent was killed meanwhile
        print(json.dumps(_try_to_read(line.rstrip("\n"), target_size)), file=answers, flush=True)
        signal.alarm(0)


if __name__ == "__main__":
    _serve(*map(int, sys.argv[1:]))
