"""Parts that several benchmarks use: tables, measurements in turns, the transforms of train.yaml."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

TRAIN_CONFIG = Path(__file__).parents[1] / "bundles" / "covid_cxr_classification" / "configs" / "train.yaml"


def batch_transforms(normalization: Callable, **settings: Any) -> list:
    """Return the transforms of a training batch as train.yaml lists them, with this normalisation."""
    from monai.bundle import ConfigParser  # here, because MONAI would count as memory of stages without it

    parser = ConfigParser()
    parser.read_config(str(TRAIN_CONFIG))
    parser.update({"normalization": normalization, **settings})
    transforms: list = parser.get_parsed_content("train::transforms")
    return transforms


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
