"""Ctrl-C that waits for what must not be cut in two."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def after_this() -> Iterator[None]:
    """Let a Ctrl-C that comes in the block take effect after it; a second one takes effect at once.

    Cut short in a transaction, a SQLite store stays locked until the process ends.
    """
    before = signal.getsignal(signal.SIGINT)
    # Signals reach the main thread only; a shell's background jobs ignore this one.
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came: list[int] = []

    def wait(number: int, frame: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)
