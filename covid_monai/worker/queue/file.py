"""The queue's SQLite file: made, checked, and read and written whole, from several threads.

WAL mode with synchronous=FULL: what a transaction has returned from survives a power cut.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from covid_monai.worker.state_dir import QueueError, damaged, queue_path

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


class QueueFile:
    """The file of a state folder; safe to use from several threads.

    Args:
        folder: Made if it is missing.

    Raises:
        QueueError: If the file is damaged, or of another version.
        OSError: If the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = queue_path(folder)
        self.lock = threading.RLock()  # held where what is read must still hold when it is written
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
        except sqlite3.OperationalError as error:  # locked, full, no permission: not damaged
            raise OSError(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise damaged(self.path, str(error)) from error

    def _check(self) -> None:
        (verdict,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise damaged(self.path, verdict.splitlines()[0])
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise QueueError(
                f"{self.path} was written by another version of covid_monai (format {version}, not "
                f"{_VERSION}): run that version until the queue is empty, or set it aside "
                "(covid-monai worker set-aside --config FILE)."
            )

    def close(self) -> None:
        """Close the file; waits for no one."""
        self._database.close()

    def read(self, query: str, values: Sequence[object] = ()) -> list[tuple]:
        """All rows of a query."""
        with self.lock:
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is executed in it is written, or nothing."""
        with self.lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # a full disk has rolled back on its own
                    self._database.execute("ROLLBACK")
                raise
