"""Long work in threads, with its progress on the standard error where a person is watching.

Threads do: decoding and OpenCV release the interpreter lock, a second process would import everything again.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from covid_monai.core.progress import bar

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


def in_threads(
    work: Callable[[_Given], _Made],
    items: Iterable[_Given],
    description: str,
    *,
    total: int,
    workers: int | None = None,
) -> Iterator[_Made]:
    """Yield `work(item)` for each item in turn, some items ahead of the reader.

    Items are drawn as they are needed, so that a generator of large ones does not fill the memory. What
    `work` raises is raised here; items that wait are then dropped, on Ctrl-C too.

    Args:
        work: Called in threads.
        items: In the order of the results.
        description: What the bar says, such as "opening files".
        total: Number of items.
        workers: Threads; the number of processors by default.
    """
    threads = workers or os.cpu_count() or 1
    waiting: deque[Future[_Made]] = deque()
    with ThreadPoolExecutor(threads) as pool, bar(description, total) as moved:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 4 * threads:
                    yield waiting.popleft().result()
                    moved.advance()
            while waiting:
                yield waiting.popleft().result()
                moved.advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
