"""Read-only view of the queue; it neither makes a file nor waits for the worker."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covid_monai.worker.queue import check_version, queue_errors, queue_path

_DAY = 86400.0
_TIMEOUT_S = 5.0  # for a program that holds the whole file
_JOB = (
    "number, archive, study, series, instance, state, noticed, not_before, starts, attempts, deferrals, "
    "finished, reason"
)


@dataclass(frozen=True)
class JobRow:
    """One job as the queue holds it; times are seconds since 1970."""

    number: int
    archive: str
    study: str
    series: str
    instance: str
    state: str  # waiting, done, refused, dead or dropped
    noticed: float
    not_before: float
    starts: int  # times that work on it has begun without an outcome
    attempts: int
    deferrals: int
    finished: float | None
    reason: str | None


@dataclass(frozen=True)
class FailureCount:
    """Jobs of one archive that failed for one reason."""

    archive: str
    state: str  # waiting: there will be another try; dead: it was given up
    reason: str
    count: int
    next_try: float | None  # of the first of the waiting jobs
    latest: float | None  # when the last of the dead letters was given up


def find_queue(state_dir: Path) -> Path:
    """Return the path of the queue in a state folder.

    Raises:
        FileNotFoundError: If there is no queue.
        PermissionError: If this user may not look.
    """
    path = queue_path(state_dir)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"There is no queue {path}: no worker has run with this configuration yet. "
            "Name the --config of the worker, or start it."
        ) from error
    except PermissionError as error:
        raise not_allowed(path) from error
    return path


@contextmanager
def open_queue_view(state_dir: Path) -> Iterator["QueueView"]:
    """Open the queue of a state folder for reading.

    Raises:
        FileNotFoundError: If there is no queue.
        OSError: If this user may not read it, or another program has locked it.
        ValueError: If it is damaged, or has the format of another version.
    """
    path = find_queue(state_dir)
    with queue_errors(path):
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT_S)
        with closing(database):
            check_version(path, _version(path, database))
            yield QueueView(database)


def _version(path: Path, database: sqlite3.Connection) -> int:
    """Return the format of the file; SQLite opens the file no sooner than at this first question."""
    try:
        ((version,),) = database.execute("PRAGMA user_version").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_CANTOPEN:
            raise not_allowed(path) from error
        raise
    return int(version)


def not_allowed(path: Path) -> PermissionError:
    """Return the error that names a file or folder which belongs to the user of the worker."""
    return PermissionError(
        f"{path} cannot be read by this user. Run this command as root or as the user of the worker."
    )


class QueueView:
    """Questions to an open queue."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._database.execute(query, values).fetchall()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return numbers of jobs: `waiting`, of these `in_work` and `delayed`, and `dead_letters`."""
        query = (
            "SELECT archive, sum(state='waiting'), sum(state='waiting' AND starts>0), "
            "sum(state='waiting' AND not_before>?), sum(state='dead') "
            "FROM job WHERE state IN ('waiting', 'dead') GROUP BY archive"
        )
        names = ("waiting", "in_work", "delayed", "dead_letters")
        rows = self._read(query, time.time())
        return {archive: dict(zip(names, counts, strict=True)) for archive, *counts in rows}

    def outcomes(self) -> dict[str, dict[str, int]]:
        """Return numbers of images that were `done`, `refused` or `dead` within the last 24 hours."""
        query = (
            "SELECT archive, state, count(*) FROM job WHERE finished>? AND (starts>0 OR state='dead') "
            "GROUP BY archive, state"
        )
        found: dict[str, dict[str, int]] = {}
        for archive, state, count in self._read(query, time.time() - _DAY):
            found.setdefault(archive, {})[state] = count
        return found

    def latest_outcomes(self) -> dict[str, float]:
        """Return when the last image of each archive was answered or refused by the classifier."""
        query = "SELECT archive, max(finished) FROM job WHERE state IN ('done', 'refused') AND starts>0 "
        return dict(self._read(f"{query} GROUP BY archive"))

    def oldest_jobs(self) -> dict[str, JobRow]:
        """Return the oldest waiting job of each archive."""
        query = f"SELECT {_JOB}, min(noticed) FROM job WHERE state='waiting' GROUP BY archive"  # noqa: S608
        jobs = [JobRow(*row[:-1]) for row in self._read(query)]  # min() chooses the row in SQLite
        return {job.archive: job for job in jobs}

    def failures(self) -> list[FailureCount]:
        """Return why jobs wait for another try or were given up, the most frequent reason first."""
        query = (
            "SELECT archive, state, reason, count(*), iif(state='waiting', min(not_before), NULL), "
            "max(finished) FROM job WHERE state IN ('waiting', 'dead') AND reason IS NOT NULL "
            "GROUP BY archive, state, reason ORDER BY count(*) DESC, archive, state, reason"
        )
        return [FailureCount(*row) for row in self._read(query)]

    def find(self, uid: str) -> list[JobRow]:
        """Return the jobs of an image, of the images of a study, or of the image that a result is made of."""
        of_result = "(SELECT job FROM result WHERE instance=?)"
        query = f"SELECT {_JOB} FROM job WHERE instance=? OR study=? OR number IN {of_result} ORDER BY number"  # noqa: S608
        return [JobRow(*row) for row in self._read(query, uid, uid, uid)]

    def results_of(self, job: JobRow) -> list[str]:
        """Return the SOP Instance UIDs of the results that were made for a job."""
        query = "SELECT instance FROM result WHERE archive=? AND job=? ORDER BY instance"
        return [uid for (uid,) in self._read(query, job.archive, job.number)]

    def count_before(self, job: JobRow) -> int:
        """Return how many waiting images of the archive come before a waiting job."""
        query = (
            "SELECT count(*) FROM job WHERE state='waiting' AND archive=? AND (deferrals, number) < (?, ?)"
        )
        ((count,),) = self._read(query, job.archive, job.deferrals, job.number)
        return int(count)
