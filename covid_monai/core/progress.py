"""Progress bars with speed and remaining time: on the standard error, and only if it is a terminal."""

import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_Item = TypeVar("_Item")


class ProgressBar(NamedTuple):
    """A progress bar; it draws nothing where no person watches."""

    progress: "Progress"
    task: "TaskID"
    unit: str

    def advance(self, count: int = 1) -> None:
        """Count `count` more items as done."""
        speed = self.progress.tasks[self.task].speed
        shown_speed = f"{speed:.1f} {self.unit}/s" if speed else self.unit
        self.progress.update(self.task, advance=count, speed=shown_speed)

    def describe(self, description: str) -> None:
        """Change the description to the present step."""
        self.progress.update(self.task, description=description)


@contextmanager
def progress_bar(description: str, total: int, *, unit: str = "images") -> Iterator[ProgressBar]:
    """Show a progress bar while the block runs; it disappears at the end.

    `description` names the work, such as "opening files", and `unit` its `total` items, in the plural.
    """
    # Imported here, because `covid-monai --help` does not need it.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    parts = (BarColumn(), MofNCompleteColumn(), "{task.fields[speed]}", TimeRemainingColumn())
    console = Console(stderr=True)
    watched = sys.stderr.isatty() and not console.is_dumb_terminal
    with Progress(
        "{task.description}", *parts, console=console, transient=True, disable=not watched
    ) as progress:
        yield ProgressBar(progress, progress.add_task(description, total=total, speed=unit), unit)


def with_progress(items: Iterable[_Item], description: str, *, total: int | None = None) -> Iterator[_Item]:
    """Yield the items, and count each in a `progress_bar` once the caller asks for the next one.

    Without `total` the length of `items` counts.
    """
    total = len(cast("Sized", items)) if total is None else total
    with progress_bar(description, total) as progress:
        for item in items:
            yield item
            progress.advance()
