"""Queue on disk: jobs, the position in each archive's change feed, and which objects are our own results.

What a method has written when it returns survives a power cut. One process works on a queue
(`queue_file.lock_state_dir`); the commands for dead letters may use it at the same time.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covid_monai.pacs.connection import InstanceAddress
from covid_monai.worker.queue_file import QueueFile
from covid_monai.worker.rules import Notice

BEGINNING = "0"
_SINGLE_AFTER_STARTS = 3
_COLUMNS = "number, archive, study, series, instance, noticed, starts, attempts, deferrals, reason"


@dataclass(frozen=True)
class Job:
    """One image to classify.

    Args:
        number: Position in the order in which the images were noticed.
        archive: Name of the archive.
        address: UIDs of the image.
        noticed: Time when the image was noticed, in seconds since 1970.
        starts: Number of times that work on it has begun without an outcome, this time included.
        attempts: Number of failures that were the image's own fault.
        deferrals: Number of failures with an unclear fault; each puts the job behind the others.
        reason: Reason of the last failure.
    """

    number: int
    archive: str
    address: InstanceAddress
    noticed: float
    starts: int
    attempts: int
    deferrals: int
    reason: str | None


class JobQueue(QueueFile):
    """Queue in a state folder; several threads may share it."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__(state_dir)
        self._running: set[int] = set()

    def position(self, archive: str) -> str | None:
        """Return the position reached in the archive's change feed; None before the first request."""
        rows = self.read("SELECT position FROM position WHERE archive=?", (archive,))
        return rows[0][0] if rows else None

    def select_unknown(self, archive: str, notices: Sequence[Notice]) -> list[Notice]:
        """Return the notices of objects that are neither in the queue nor our own results, each once."""
        with self.lock:
            found = {
                notice.address.sop_instance_uid: notice
                for notice in notices
                if not self._is_known(archive, notice.address.sop_instance_uid)
            }
        return list(found.values())

    def _is_known(self, archive: str, instance: str) -> bool:
        query = "SELECT 1 FROM {} WHERE archive=? AND instance=?"
        return any(self.read(query.format(table), (archive, instance)) for table in ("job", "result"))

    def add(self, archive: str, notices: Sequence[Notice], *, position: str | None) -> None:
        """Add jobs, and the position in the change feed behind them, in one transaction.

        Args:
            archive: Name of the archive.
            notices: News of objects. A notice with a refusal is stored as refused; a known object is ignored.
            position: Position in the change feed; None leaves it unchanged.
        """
        insert = (
            "INSERT INTO job (archive, study, series, instance, noticed, state, reason, finished) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (archive, instance) DO NOTHING"
        )
        now = time.time()
        with self.transaction() as database:
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
        with self.lock:  # until they are marked as running: two threads must not get the same job
            with self.transaction() as database:
                jobs = self._due_jobs(archive, limit)
                for job in jobs:
                    database.execute(
                        "UPDATE job SET starts=starts+1, first_start=iif(starts=0, ?, first_start) "
                        "WHERE number=?",
                        (time.time(), job.number),
                    )
            self._running |= {job.number for job in jobs}
        return [replace(job, starts=job.starts + 1) for job in jobs]

    def _due_jobs(self, archive: str, limit: int) -> list[Job]:
        rows = self.read(
            f"SELECT {_COLUMNS} FROM job WHERE state='waiting' AND archive=? AND not_before<=? "  # noqa: S608
            "ORDER BY starts>=?, deferrals, number LIMIT ?",
            (archive, time.time(), _SINGLE_AFTER_STARTS, limit + len(self._running)),
        )
        jobs = [job for job in map(_read_job, rows) if job.number not in self._running][:limit]
        single = (i for i, job in enumerate(jobs) if job.starts >= _SINGLE_AFTER_STARTS or job.deferrals)
        return jobs[: max(1, next(single, limit))]

    def count_finished_since_first_start(self, job: Job) -> int:
        """Return how many other images of the archive were finished since work on this job first began."""
        query = (
            "SELECT count(*) FROM job WHERE archive=? AND state IN ('done', 'refused') "
            "AND finished>(SELECT first_start FROM job WHERE number=?)"
        )
        ((count,),) = self.read(query, (job.archive, job.number))
        return int(count)

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Return jobs to the queue as they were: the archive is unavailable, or the service stops."""
        with self.lock:
            self._running -= {job.number for job in jobs}
            with self.transaction() as database:
                for job in jobs:
                    database.execute("UPDATE job SET starts=max(starts-1, 0) WHERE number=?", (job.number,))

    def add_results(self, job: Job, sop_instance_uids: Sequence[str]) -> None:
        """Remember which objects are our own results, before they are sent: they never become jobs."""
        with self.transaction() as database:
            rows = [(job.archive, uid, job.number) for uid in sop_instance_uids]
            database.executemany("INSERT OR REPLACE INTO result VALUES (?, ?, ?)", rows)

    def finish(
        self, job: Job, state: str, *, reason: str | None = None, probabilities: Sequence[float] | None = None
    ) -> None:
        """Close a job as `done` (the archive has confirmed the results), `refused` or `dead`."""
        scores = None if probabilities is None else json.dumps(list(probabilities))
        with self.transaction() as database:
            database.execute(
                "UPDATE job SET state=?, reason=?, probabilities=?, finished=? WHERE number=?",
                (state, reason, scores, time.time(), job.number),
            )
            self._running.discard(job.number)

    def postpone(self, job: Job, reason: str, *, seconds: float, counts: bool) -> None:
        """Let a job wait before the next try.

        Args:
            job: Job that failed.
            reason: Reason of the failure.
            seconds: Time to wait.
            counts: Whether the failure was the image's own fault and counts as an attempt.
        """
        with self.transaction() as database:
            database.execute(
                "UPDATE job SET attempts=attempts+?, deferrals=deferrals+?, starts=0, reason=?, not_before=? "
                "WHERE number=?",
                (int(counts), int(not counts), reason, time.time() + seconds, job.number),
            )
            self._running.discard(job.number)

    def count_waiting(self) -> dict[str, int]:
        """Return the number of waiting jobs by archive."""
        return dict(self.read("SELECT archive, count(*) FROM job WHERE state='waiting' GROUP BY archive"))

    def count_dead_letters(self) -> dict[str, int]:
        """Return the number of dead letters by archive."""
        return dict(self.read("SELECT archive, count(*) FROM job WHERE state='dead' GROUP BY archive"))

    def oldest_notice(self) -> dict[str, float]:
        """Return the time when the oldest waiting job was noticed, by archive."""
        query = "SELECT archive, min(noticed) FROM job WHERE state='waiting' GROUP BY archive"
        return dict(self.read(query))

    def latest_probabilities(self, count: int) -> list[list[float]]:
        """Return the class probabilities of the latest answers, oldest first."""
        rows = self.read(
            "SELECT probabilities FROM job WHERE probabilities IS NOT NULL ORDER BY finished DESC LIMIT ?",
            (count,),
        )
        return [json.loads(text) for (text,) in reversed(rows)]

    def forget(self, *, before: float) -> None:
        """Delete jobs that were finished before a time; dead letters stay."""
        with self.transaction() as database:
            database.execute(
                "DELETE FROM job WHERE state IN ('done', 'refused', 'dropped') AND finished<?", (before,)
            )
            database.execute("DELETE FROM result WHERE job NOT IN (SELECT number FROM job)")

    def dead_letters(self) -> list[Job]:
        """Return the jobs that were given up, oldest first."""
        query = f"SELECT {_COLUMNS} FROM job WHERE state='dead' ORDER BY number"  # noqa: S608
        return [_read_job(row) for row in self.read(query)]

    def retry_dead_letters(self, numbers: Sequence[int]) -> list[int]:
        """Let dead letters be tried again; return the numbers that were dead letters."""
        change = "state='waiting', attempts=0, deferrals=0, starts=0, not_before=0, finished=NULL"
        return self._update_dead_letters(numbers, change)

    def drop_dead_letters(self, numbers: Sequence[int]) -> list[int]:
        """Close dead letters for good; return the numbers that were dead letters."""
        return self._update_dead_letters(numbers, "state='dropped'")

    def _update_dead_letters(self, numbers: Sequence[int], change: str) -> list[int]:
        query = f"UPDATE job SET {change} WHERE number=? AND state='dead'"  # noqa: S608 (no text from outside)
        with self.transaction() as database:
            return [number for number in numbers if database.execute(query, (number,)).rowcount]


def _read_job(row: tuple) -> Job:
    number, archive, study, series, instance, *rest = row
    return Job(number, archive, InstanceAddress(study, series, instance), *rest)
