"""Queue on disk: jobs, the position in each archive's change feed, and which objects are our own results.

What a method has written when it returns survives a power cut: SQLite runs in WAL mode with synchronous=FULL.
One process works on a queue (`lock_state_dir`); the commands for dead letters may use it at the same time.
"""

import fcntl
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from covid_monai.core.atomic_files import keep_private, make_private_folder, open_private
from covid_monai.pacs.connection import InstanceAddress
from covid_monai.worker.rules import KNOWN, OWN_RESULT, Notice

BEGINNING = "0"
_SINGLE_AFTER_STARTS = 3
_LOCK_TRIES, _LOCK_WAIT_S = 3, 0.1
_COLUMNS = (
    "number, archive, study, series, instance, noticed, starts, attempts, deferrals, reason, results_made"
)
_VERSION = 2  # as in queue.sql
_SCHEMA = Path(__file__).with_name("queue.sql")


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
    """Reserve the state folder for this process, or raise `QueueError` if another process has it.

    The kernel ends the lock however the process ends.
    """
    make_private_folder(state_dir)
    with open(state_dir / "lock", "w", opener=open_private) as file:
        if not _lock(file):
            raise QueueError(
                f"Another worker uses the folder {state_dir}. Stop that worker, or set another state_dir."
            )
        yield


def _lock(file: TextIO) -> bool:
    """Lock an open file; `is_state_dir_locked`, which holds it for microseconds, is not another worker."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_WAIT_S)
        else:
            return True
    return False


def is_state_dir_locked(state_dir: Path) -> bool:
    """Return whether a worker has reserved the state folder; nothing is made.

    Raises:
        PermissionError: If this user may not look.
    """
    try:
        with (state_dir / "lock").open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def queue_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite in the block into errors that name the file, the cause and the way out."""
    try:
        yield
    except sqlite3.OperationalError as error:  # locked, full or no permission, but not damaged
        if (error.sqlite_errorcode & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise OSError(
                f"{path} is locked by another program. Try again. If it stays locked, `fuser {path}` shows "
                "the program."
            ) from error
        raise OSError(f"{path} cannot be used ({error}). Check its rights and the disk.") from error
    except sqlite3.DatabaseError as error:
        raise damaged_queue_error(path, str(error)) from error


def check_version(path: Path, version: int) -> None:
    """Raise `QueueError` for the format of another version of this software."""
    if version != _VERSION:
        raise QueueError(
            f"{path} has format {version}; this version of covid_monai reads format {_VERSION}. Run "
            "the version that wrote the file until the queue is empty, or set the queue aside: "
            "covid-monai worker set-aside --config FILE."
        )


def set_queue_aside(state_dir: Path) -> Path | None:
    """Rename the files of the queue in a locked folder; return the new path, None if there was no queue."""
    path = queue_path(state_dir)
    if not path.exists():
        return None
    kept = path.with_name(f"queue.{datetime.now(UTC):%Y%m%dT%H%M%SZ}.sqlite")
    for suffix in ("-wal", "-shm", ""):  # without its write-ahead log, the file would lose jobs
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(kept.with_name(kept.name + suffix))
    return kept


@dataclass(frozen=True)
class Job:
    """One image to classify."""

    number: int  # position in the order in which the images were noticed
    archive: str
    address: InstanceAddress
    noticed: float  # seconds since 1970
    starts: int  # times that work on it has begun without an outcome, this time included
    attempts: int  # failures that were the image's own fault
    deferrals: int  # failures with an unclear fault; each puts the job behind the others
    reason: str | None  # of the last failure
    results_made: datetime | None = None  # once the results have been made: they carry it at every try


class JobQueue:
    """Queue in a state folder, which is made if it is missing; several threads may share it.

    Raises:
        QueueError: If the file is damaged, or has the format of another version.
        OSError: If the folder cannot be written.
    """

    def __init__(self, state_dir: Path) -> None:
        make_private_folder(state_dir)
        self.path = queue_path(state_dir)
        self._running: set[int] = set()
        self._lock = threading.RLock()  # hold it if what was read must still be true when it is written
        keep_private(self.path)  # SQLite gives its journals the mode of the database
        with queue_errors(self.path):
            self._database = sqlite3.connect(
                self.path, check_same_thread=False, isolation_level="IMMEDIATE", timeout=20
            )
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._check()
            self._database.executescript(_SCHEMA.read_text(encoding="utf-8"))

    def _check(self) -> None:
        (verdict,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise damaged_queue_error(self.path, verdict.splitlines()[0])
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version:  # a new file has 0
            check_version(self.path, version)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Write everything that the block executes, or nothing if it fails."""
        with self._lock, self._database:
            yield self._database

    def position(self, archive: str) -> str | None:
        """Return the position reached in the archive's change feed; None before the first request."""
        rows = self._read("SELECT position FROM position WHERE archive=?", archive)
        return rows[0][0] if rows else None

    def recognise(self, archive: str, notices: Sequence[Notice]) -> list[Notice]:
        """Return the notices; those of our own results and of objects that the queue holds are refused.

        Of two notices of one object the second is refused. Objects of Orthanc whose UIDs are unknown, and
        numbers of objects, are not compared.
        """
        found, seen = [], set()
        with self._lock:
            for notice in notices:
                uid = notice.address.sop_instance_uid
                is_one = notice.count is None and notice.orthanc_id is None
                if uid in seen or (is_one and self._has("job", archive, uid)):
                    notice = replace(notice, refusal=KNOWN)
                elif self._has("result", archive, uid):
                    notice = replace(notice, refusal=OWN_RESULT)
                seen |= {uid} - {""}
                found.append(notice)
        return found

    def _has(self, table: str, archive: str, instance: str) -> bool:
        query = f"SELECT 1 FROM {table} WHERE archive=? AND instance=?"  # noqa: S608 (no text from outside)
        return bool(self._read(query, archive, instance))

    def add(self, archive: str, notices: Sequence[Notice], *, position: str | None) -> None:
        """Add jobs, and the position in the change feed behind them, in one transaction.

        A notice with a refusal is stored as refused; a known object is ignored. A position of None leaves
        the stored position unchanged.
        """
        insert = (
            "INSERT INTO job (archive, study, series, instance, noticed, state, reason, finished) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (archive, instance) DO NOTHING"
        )
        now = time.time()
        with self._transaction() as database:
            for notice in notices:
                state, finished = ("refused", now) if notice.refusal else ("waiting", None)
                uids = notice.address
                values = (uids.study_instance_uid, uids.series_instance_uid, uids.sop_instance_uid, now)
                database.execute(insert, (archive, *values, state, notice.refusal, finished))
            if position is not None:
                database.execute("INSERT OR REPLACE INTO position VALUES (?, ?)", (archive, position))

    def claim(self, archive: str, limit: int) -> list[Job]:
        """Return the oldest jobs that are due, and count that work on them begins.

        A job that has begun several times without an outcome may be the one that ends the process. A job
        with deferrals may be the one that stops its batch. Such jobs come alone, behind the others.
        """
        with self._lock:  # until they are marked as running: two threads must not get the same job
            jobs = self._due_jobs(archive, limit)
            update = (
                "UPDATE job SET starts=starts+1, first_start=iif(starts=0, ?, first_start) WHERE number=?"
            )
            with self._transaction() as database:
                database.executemany(update, [(time.time(), job.number) for job in jobs])
            self._running |= {job.number for job in jobs}
        return [replace(job, starts=job.starts + 1) for job in jobs]

    def _due_jobs(self, archive: str, limit: int) -> list[Job]:
        rows = self._read(
            f"SELECT {_COLUMNS} FROM job WHERE state='waiting' AND archive=? AND not_before<=? "  # noqa: S608
            "ORDER BY starts>=?, deferrals, number LIMIT ?",
            *(archive, time.time(), _SINGLE_AFTER_STARTS, limit + len(self._running)),
        )
        jobs = [job for job in map(_read_job, rows) if job.number not in self._running][:limit]
        single = (i for i, job in enumerate(jobs) if job.starts >= _SINGLE_AFTER_STARTS or job.deferrals)
        return jobs[: max(1, next(single, limit))]

    def count_finished_since_first_start(self, job: Job) -> int:
        """Return how many other images of the archive were finished since work on this job first began."""
        query = (
            "SELECT count(*) FROM job WHERE archive=? AND state IN ('done', 'refused') AND starts>0 "
            "AND finished>(SELECT first_start FROM job WHERE number=?)"
        )
        ((count,),) = self._read(query, job.archive, job.number)
        return int(count)

    def put_back(self, jobs: Sequence[Job], *, starts_count: bool = False) -> None:
        """Return jobs to the queue: the archive is unavailable, or the service stops.

        They are as they were, unless their starts count.
        """
        with self._lock:
            self._running -= {job.number for job in jobs}
            with self._transaction() as database:
                update = "UPDATE job SET starts=max(starts-?, 0) WHERE number=?"
                database.executemany(update, [(not starts_count, job.number) for job in jobs])

    def add_results(self, job: Job, sop_instance_uids: Sequence[str], made: datetime) -> None:
        """Remember which objects are our own results, and when they were made, before they are sent.

        They never become jobs, and another try of the job makes the same bytes.
        """
        with self._transaction() as database:
            rows = [(job.archive, uid, job.number) for uid in sop_instance_uids]
            database.executemany("INSERT OR REPLACE INTO result VALUES (?, ?, ?)", rows)
            made_text = made.isoformat()
            database.execute("UPDATE job SET results_made=? WHERE number=?", (made_text, job.number))

    def finish(
        self, job: Job, state: str, *, reason: str | None = None, probabilities: Sequence[float] | None = None
    ) -> None:
        """Close a job as `done` (the archive has confirmed the results), `refused` or `dead`."""
        scores = None if probabilities is None else json.dumps(list(probabilities))
        with self._transaction() as database:
            database.execute(
                "UPDATE job SET state=?, reason=?, probabilities=?, finished=? WHERE number=?",
                (state, reason, scores, time.time(), job.number),
            )
            self._running.discard(job.number)

    def postpone(self, job: Job, reason: str, *, seconds: float, counts: bool) -> None:
        """Let a job wait before the next try.

        A failure that `counts` was the image's own fault and is an attempt; any other one is a deferral.
        """
        with self._transaction() as database:
            database.execute(
                "UPDATE job SET attempts=attempts+?, deferrals=deferrals+?, starts=0, reason=?, not_before=? "
                "WHERE number=?",
                (int(counts), int(not counts), reason, time.time() + seconds, job.number),
            )
            self._running.discard(job.number)

    def count(self, state: str) -> dict[str, int]:
        """Return the number of jobs in a state, such as `waiting` or `dead`, by archive."""
        # The state is part of the text, because SQLite uses a partial index only for a constant.
        query = f"SELECT archive, count(*) FROM job WHERE state='{state}' GROUP BY archive"  # noqa: S608
        return dict(self._read(query))

    def oldest_notice(self) -> dict[str, float]:
        """Return the time when the oldest waiting job was noticed, by archive."""
        query = "SELECT archive, min(noticed) FROM job WHERE state='waiting' GROUP BY archive"
        return dict(self._read(query))

    def latest_probabilities(self, count: int) -> list[list[float]]:
        """Return the class probabilities of the latest answers, oldest first."""
        query = "SELECT probabilities FROM job WHERE probabilities IS NOT NULL ORDER BY finished DESC LIMIT ?"
        rows = self._read(query, count)
        return [json.loads(text) for (text,) in reversed(rows)]

    def forget(self, *, before: float) -> None:
        """Delete jobs that were finished before a time; dead letters stay."""
        with self._transaction() as database:
            database.execute(
                "DELETE FROM job WHERE state IN ('done', 'refused', 'dropped') AND finished<?", (before,)
            )
            database.execute("DELETE FROM result WHERE job NOT IN (SELECT number FROM job)")

    def dead_letters(self) -> list[Job]:
        """Return the jobs that were given up, oldest first."""
        query = f"SELECT {_COLUMNS} FROM job WHERE state='dead' ORDER BY number"  # noqa: S608
        return [_read_job(row) for row in self._read(query)]

    def retry_dead_letters(self, numbers: Sequence[int]) -> list[int]:
        """Let dead letters be tried again; return the numbers that were dead letters."""
        change = "state='waiting', attempts=0, deferrals=0, starts=0, not_before=0, finished=NULL"
        return self._update_dead_letters(numbers, change)

    def drop_dead_letters(self, numbers: Sequence[int]) -> list[int]:
        """Close dead letters for good; return the numbers that were dead letters."""
        return self._update_dead_letters(numbers, "state='dropped'")

    def retry_now(self, archives: Sequence[str]) -> int:
        """Make all waiting jobs of some archives due, and ask the worker to try these archives at once.

        Returns:
            Number of jobs that would have waited for their next try.
        """
        now = time.time()
        with self._transaction() as database:
            update = "UPDATE job SET not_before=0 WHERE state='waiting' AND archive=? AND not_before>?"
            made_due = sum(database.execute(update, (name, now)).rowcount for name in archives)
            database.executemany("INSERT OR REPLACE INTO wake VALUES (?, ?)", [(a, now) for a in archives])
        return made_due

    def wake_times(self) -> dict[str, float]:
        """Return when `retry_now` was last called, by archive."""
        return dict(self._read("SELECT archive, asked FROM wake"))

    def _update_dead_letters(self, numbers: Sequence[int], change: str) -> list[int]:
        query = f"UPDATE job SET {change} WHERE number=? AND state='dead'"  # noqa: S608 (no text from outside)
        with self._transaction() as database:
            return [number for number in numbers if database.execute(query, (number,)).rowcount]


def _read_job(row: tuple) -> Job:
    number, archive, study, series, instance, *rest, made = row
    rest.append(datetime.fromisoformat(made) if made else None)
    return Job(number, archive, InstanceAddress(study, series, instance), *rest)
