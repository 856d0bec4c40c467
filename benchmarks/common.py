"""What the benchmarks share: tables, and taking turns."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def table(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Print rows with the same keys; numbers with three digits."""
    shown = Table(*rows[0], title=title)
    for row in rows:
        shown.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console().print(shown)


def alternate(
    functions: Mapping[str, Callable[[], object]], repeats: int, *, warm: bool = False
) -> dict[str, float]:
    """Median seconds of each function, called in turns: a machine that is busy for a while is so for all.

    With `warm` each is called once more before its turn, which does not count: what the one before it left,
    such as OpenMP's threads that still spin, is then not its own.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            if warm:
                function()
            begin = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(taken) for name, taken in seconds.items()}
