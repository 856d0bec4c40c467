"""The folder that holds the queue: one process at a time, and what to do when the queue is damaged."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path


class QueueError(ValueError):
    """A queue that cannot be used as it is; the message says what to do."""


def queue_path(folder: Path) -> Path:
    """The queue's file in a state folder."""
    return folder / "queue.sqlite"


def damaged(path: Path, problem: str) -> QueueError:
    """The error that says how to go on with a damaged queue."""
    return QueueError(
        f"{path} is damaged ({problem}). Nothing was changed or thrown away. Put a backup in its place, or "
        "run `covid-monai worker set-aside --config FILE`: it keeps the damaged file under another name and "
        "begins a new queue that reads the archive's change feed from the start."
    )


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the state folder for this process; released by the kernel however the process ends.

    Raises:
        QueueError: If another process serves it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise QueueError(
                f"{folder} is in use by another worker: stop it first, or give another state_dir"
            ) from error
        yield


def move_aside(folder: Path) -> Path | None:
    """Rename the queue's files, so that a new one can begin.

    Args:
        folder: The state folder; claimed.

    Returns:
        Where the old queue lies; None if there was none.
    """
    path = queue_path(folder)
    if not path.exists():
        return None
    kept = path.with_name(f"queue.{datetime.now(UTC):%Y%m%dT%H%M%SZ}.sqlite")
    for suffix in ("-wal", "-shm", ""):  # the log goes with its file, or its jobs would be lost
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(kept.with_name(kept.name + suffix))
    return kept
