"""What a person sees of long work: a bar with speed and time left, on the standard error, gone at the end."""

import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_Item = TypeVar("_Item")


class Bar:
    """A bar that work moves on; without a person to see it, nothing."""

    def __init__(self, drawn: "Progress", task: "TaskID", unit: str) -> None:
        self._drawn, self._task, self._unit = drawn, task, unit

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        speed = self._drawn.tasks[self._task].speed
        self._drawn.update(
            self._task, advance=count, speed=f"{speed:.1f} {self._unit}/s" if speed else self._unit
        )

    def say(self, description: str) -> None:
        """What is done now."""
        self._drawn.update(self._task, description=description)


@contextmanager
def bar(description: str, total: int, *, unit: str = "images") -> Iterator[Bar]:
    """Show a bar while the block runs, if the standard error is a terminal.

    Args:
        description: What is done, such as "opening files".
        total: How many there are to do.
        unit: What is counted.
    """
    # Here and not above: `covid-monai --help` needs none of it.
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
    with Progress(*columns, console=console, transient=True, disable=not watched) as drawn:
        yield Bar(drawn, drawn.add_task(description, total=total, speed=unit), unit)


def shown(
    items: Iterable[_Item], description: str, *, total: int | None = None, unit: str = "images"
) -> Iterator[_Item]:
    """The same items, with a bar that counts those that were dealt with.

    Args:
        items: Any number of them.
        description: See `bar`.
        total: How many there are; None asks `items` itself.
        unit: See `bar`.
    """
    with bar(description, len(cast("Sized", items)) if total is None else total, unit=unit) as moved:
        for item in items:
            yield item
            moved.advance()
