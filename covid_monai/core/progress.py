"""Progress bars with speed and remaining time: on the standard error, and only if it is a terminal."""

import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_Item = TypeVar("_Item")


class ProgressBar:
    """A progress bar; it draws nothing where no person watches."""

    def __init__(self, progress: "Progress", task: "TaskID", unit: str) -> None:
        self._progress, self._task, self._unit = progress, task, unit

    def advance(self, count: int = 1) -> None:
        """Count `count` more items as done."""
        speed = self._progress.tasks[self._task].speed
        shown_speed = f"{speed:.1f} {self._unit}/s" if speed else self._unit
        self._progress.update(self._task, advance=count, speed=shown_speed)

    def describe(self, description: str) -> None:
        """Change the description to the present step."""
        self._progress.update(self._task, description=description)


@contextmanager
def progress_bar(description: str, total: int, *, unit: str = "images") -> Iterator[ProgressBar]:
    """Show a progress bar while the block runs; it disappears at the end.

    Args:
        description: Name of the work, such as "opening files".
        total: Number of items.
        unit: Name of the items, in the plural.
    """
    # Imported here, because `covid-monai --help` does not need it.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    watched = sys.stderr.isatty() and not console.is_dumb_terminal
    with Progress(*columns, console=console, transient=True, disable=not watched) as progress:
        yield ProgressBar(progress, progress.add_task(description, total=total, speed=unit), unit)


def with_progress(
    items: Iterable[_Item], description: str, *, total: int | None = None, unit: str = "images"
) -> Iterator[_Item]:
    """Yield the items, and count each in a progress bar once the caller asks for the next one.

    Args:
        items: Items to iterate over.
        description: See `progress_bar`.
        total: Number of items; None takes the length of `items`.
        unit: See `progress_bar`.
    """
    total = len(cast("Sized", items)) if total is None else total
    with progress_bar(description, total, unit=unit) as progress:
        for item in items:
            yield item
            progress.advance()
