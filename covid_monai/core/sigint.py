"""Deferral of Ctrl-C during work that must not be interrupted."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def defer_sigint() -> Iterator[None]:
    """Defer a Ctrl-C until the block ends; a second Ctrl-C takes effect at once.

    A SQLite store that is interrupted in a transaction stays locked until the process ends.
    """
    previous_handler = signal.getsignal(signal.SIGINT)
    # Signals reach the main thread only; a shell's background jobs ignore this one.
    if threading.current_thread() is not threading.main_thread() or not callable(previous_handler):
        yield
        return
    received: list[int] = []

    def remember(number: int, _frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)
        if received:
            signal.raise_signal(signal.SIGINT)
