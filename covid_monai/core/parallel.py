"""A map over threads, with a progress bar. Decoders and OpenCV release the interpreter lock."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from covid_monai.core.progress import progress_bar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_in_threads(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    description: str,
    *,
    total: int,
    workers: int | None = None,
) -> Iterator[_Result]:
    """Yield `function(item)` for each item, in the order of the items.

    Items are taken only a few ahead of the results, so that a generator of large items does not fill the
    memory. An exception of `function` is raised here. It drops the waiting items, and so does Ctrl-C.
    Without `workers` there are as many threads as processors.
    """
    threads = workers or os.cpu_count() or 1
    pending: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(threads) as pool, progress_bar(description, total) as progress:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 4 * threads:
                    yield pending.popleft().result()
                    progress.advance()
            while pending:
                yield pending.popleft().result()
                progress.advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
