"""Ctrl-C that waits for what must not be cut in two."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def after_this() -> Iterator[None]:
    """Let a Ctrl-C that comes in the block take effect after it.

    Cut short in a transaction, a SQLite store stays locked until the process ends.

    >>> try:
    ...     with after_this():
    ...         signal.raise_signal(signal.SIGINT)
    ...         transaction = "whole"
    ... except KeyboardInterrupt:
    ...     print(transaction)
    whole
    """
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)  # None: it was not Python's
        if came:
            signal.raise_signal(signal.SIGINT)
