"""Files of the queue in the state folder: the lock, the SQLite file, and how to replace a damaged one.

SQLite runs in WAL mode with synchronous=FULL: a transaction that has returned survives a power cut.
"""

import fcntl
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (
    number INTEGER PRIMARY KEY,
    archive TEXT NOT NULL,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    instance TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'refused', 'dead', 'dropped')),
    noticed REAL NOT NULL,
    not_before REAL NOT NULL DEFAULT 0,
    starts INTEGER NOT NULL DEFAULT 0,
    first_start REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    deferrals INTEGER NOT NULL DEFAULT 0,
    finished REAL,
    reason TEXT,
    probabilities TEXT,
    UNIQUE (archive, instance)
);
CREATE INDEX IF NOT EXISTS waiting ON job (archive, deferrals, number) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS dead ON job (archive, number) WHERE state = 'dead';
CREATE INDEX IF NOT EXISTS finished ON job (finished);
CREATE TABLE IF NOT EXISTS position (archive TEXT PRIMARY KEY, position TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS result (archive TEXT NOT NULL, instance TEXT NOT NULL, job INTEGER NOT NULL,
    PRIMARY KEY (archive, instance)) WITHOUT ROWID;
"""


class QueueError(ValueError):
    """The queue cannot be used as it is; the message says what to do."""


def queue_path(state_dir: Path) -> Path:
    """Return the path of the queue in a state folder."""
    return state_dir / "queue.sqlite"


def damaged_queue_error(path: Path, problem: str) -> QueueError:
    """Return the error that says what to do with a damaged queue."""
    return QueueError(
        f"{path} is damaged ({problem}). Nothing was changed or deleted. Put a backup in its place, or run "
        "`covid-monai worker set-aside --config FILE`. That keeps the damaged file under another name and "
        "begins a new queue, which reads the change feed of each archive from its start."
    )


@contextmanager
def lock_state_dir(state_dir: Path) -> Iterator[None]:
    """Reserve the state folder for this process; the kernel ends the lock however the process ends.

    Raises:
        QueueError: If another process has the lock.
    """
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise QueueError(
                f"Another worker uses the folder {state_dir}. Stop that worker, or set another state_dir."
            ) from error
        yield


def set_queue_aside(state_dir: Path) -> Path | None:
    """Rename the files of the queue, so that a new queue can begin.

    Args:
        state_dir: State folder, locked by this process.

    Returns:
        New path of the old queue; None if there was no queue.
    """
    path = queue_path(state_dir)
    if not path.exists():
        return None
    kept = path.with_name(f"queue.{datetime.now(UTC):%Y%m%dT%H%M%SZ}.sqlite")
    for suffix in ("-wal", "-shm", ""):  # without its write-ahead log, the file would lose jobs
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(kept.with_name(kept.name + suffix))
    return kept


class QueueFile:
    """SQLite file of the queue; several threads may share it.

    Args:
        state_dir: State folder. It is made if it is missing.

    Raises:
        QueueError: If the file is damaged, or has the format of another version.
        OSError: If the folder cannot be written.
    """

    def __init__(self, state_dir: Path) -> None:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = queue_path(state_dir)
        self.lock = threading.RLock()  # hold it if what was read must still be true when it is written
        try:
            self._database = sqlite3.connect(
                self.path, check_same_thread=False, isolation_level=None, timeout=20
            )
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._check()
            with self.transaction() as database:
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version={_VERSION}")
        except sqlite3.OperationalError as error:  # locked, full or no permission, but not damaged
            raise OSError(f"{self.path} cannot be used ({error}). Check its rights and the disk.") from error
        except sqlite3.DatabaseError as error:
            raise damaged_queue_error(self.path, str(error)) from error

    def _check(self) -> None:
        (verdict,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise damaged_queue_error(self.path, verdict.splitlines()[0])
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise QueueError(
                f"{self.path} has format {version}; this version of covid_monai reads format {_VERSION}. Run "
                "the version that wrote the file until the queue is empty, or set the queue aside: "
                "covid-monai worker set-aside --config FILE."
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def read(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self.lock:
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write everything that the block executes, or nothing if it fails."""
        with self.lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # on a full disk SQLite has rolled back already
                    self._database.execute("ROLLBACK")
                raise
