"""Processes that read an upload before this one does: a decoder that crashes takes no server with it."""

import os
from queue import SimpleQueue

from covid_monai.api.uploads import Upload, in_memory, renamed
from covid_monai.readers.sandbox import DecodeSandbox, SandboxResult

# Reading such a file here would do to this process what it did to the one that was there for it.
NOT_TO_BE_READ = ("too_slow", "decoder_crashed", "too_much_memory")


class DecodeChecks:
    """The worker's check, for several callers at once.

    Args:
        seconds: Longest time for one file.
        memory_mib: Address space for reading one file, in MiB.
        target_size: Of the classifier's reader.
    """

    def __init__(self, *, seconds: float, memory_mib: int, target_size: int) -> None:
        count = len(os.sched_getaffinity(0))
        self._all = [
            DecodeSandbox(seconds=seconds, memory_mib=memory_mib, target_size=target_size)
            for _ in range(count)
        ]
        self._free: SimpleQueue[DecodeSandbox] = SimpleQueue()
        for check in self._all:
            self._free.put(check)

    def check(self, upload: Upload) -> SandboxResult:
        """Read an upload as the classifier will; waits for a process that is free."""
        check = self._free.get()
        try:
            with in_memory(upload) as path:
                verdict = check.check(path)
        finally:
            self._free.put(check)
        return verdict._replace(detail=renamed(verdict.detail, path.name, upload.name))

    def close(self) -> None:
        """End the processes."""
        for check in self._all:
            check.close()
