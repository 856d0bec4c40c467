"""What is to be done, on disk: jobs, the position in each archive's change feed, and which results are ours.

What a method has returned from survives a power cut. One process serves a queue (`state_folder.claimed`); the
commands for dead letters may look into it meanwhile.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covid_monai.worker.queue.file import QueueFile
from covid_monai.worker.rules import Notice

BEGINNING = "0"


@dataclass(frozen=True)
class Job:
    """One image that is to be answered.

    Args:
        number: In the order in which images were noticed.
        archive: Name of the archive.
        study: Study Instance UID.
        series: Series Instance UID.
        instance: SOP Instance UID.
        noticed: When, in seconds since 1970.
        starts: How often work on it has begun without any outcome, this time included.
        attempts: How often it has failed through a fault of its own.
        deferrals: How often it has failed with nobody to blame, and gone behind the others.
        reason: Of the last failure.
    """

    number: int
    archive: str
    study: str
    series: str
    instance: str
    noticed: float
    starts: int
    attempts: int
    deferrals: int = 0
    reason: str | None = None


_INDEXED = {
    "waiting": "waiting",
    "dead": "dead",
}  # spelled out in the query: a partial index is found only so
_COLUMNS = "number, archive, study, series, instance, noticed, starts, attempts, deferrals, reason"


class JobQueue:
    """The queue of a state folder; safe to use from several threads.

    Args:
        folder: Made if it is missing.

    Raises:
        QueueError: If the file is damaged, or of another version.
        OSError: If the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._file = QueueFile(folder)
        self.path = self._file.path
        self._running: set[int] = set()

    def close(self) -> None:
        """Close the file; waits for no one."""
        self._file.close()

    def position(self, archive: str) -> str | None:
        """Where to go on in the archive's change feed; None before the first look."""
        rows = self._file.read("SELECT position FROM position WHERE archive=?", (archive,))
        return rows[0][0] if rows else None

    def unknown(self, archive: str, notices: Sequence[Notice]) -> list[Notice]:
        """Those that are neither in the queue nor results of ours, each once."""
        with self._file.lock:
            found = {
                notice.instance: notice for notice in notices if not self._knows(archive, notice.instance)
            }
        return list(found.values())

    def _knows(self, archive: str, instance: str) -> bool:
        query = "SELECT 1 FROM {} WHERE archive=? AND instance=?"
        return any(self._file.read(query.format(table), (archive, instance)) for table in ("job", "result"))

    def add(self, archive: str, notices: Sequence[Notice], *, position: str | None, now: float) -> None:
        """Add jobs and the position they bring the change feed to, in one transaction.

        Args:
            archive: Name of the archive.
            notices: One with a refusal is remembered as refused; one that is known adds nothing.
            position: None leaves it.
            now: Seconds since 1970.
        """
        insert = (
            "INSERT INTO job (archive, study, series, instance, noticed, state, reason, finished) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (archive, instance) DO NOTHING"
        )
        with self._file.transaction() as database:
            for notice in notices:
                state, finished = ("refused", now) if notice.refusal else ("waiting", None)
                uids = (notice.study, notice.series, notice.instance)
                database.execute(insert, (archive, *uids, now, state, notice.refusal, finished))
            if position is not None:
                database.execute("INSERT OR REPLACE INTO position VALUES (?, ?)", (archive, position))

    def claim(self, archive: str, limit: int, *, alone_after: int = 3) -> list[Job]:
        """The oldest jobs that are due, noted as begun.

        A job that was begun several times without an outcome may be what ends the process, and one that
        failed with nobody to blame may be what stops its batch: they go alone, behind the others.
        """
        with self._file.lock:  # until they are noted as running: two threads must not get the same job
            with self._file.transaction() as database:
                jobs = self._due(archive, limit, alone_after=alone_after)
                for job in jobs:
                    database.execute(
                        "UPDATE job SET starts=starts+1, first_start=iif(starts=0, ?, first_start) "
                        "WHERE number=?",
                        (time.time(), job.number),
                    )
            self._running |= {job.number for job in jobs}
        return [replace(job, starts=job.starts + 1) for job in jobs]

    def _due(self, archive: str, limit: int, *, alone_after: int) -> list[Job]:
        rows = self._file.read(
            f"SELECT {_COLUMNS} FROM job WHERE state='waiting' AND archive=? AND not_before<=? "  # noqa: S608
            "ORDER BY starts>=?, deferrals, number LIMIT ?",
            (archive, time.time(), alone_after, limit + len(self._running)),
        )
        jobs = [job for job in map(_job, rows) if job.number not in self._running][:limit]
        suspects = [i for i, job in enumerate(jobs) if job.starts >= alone_after or job.deferrals]
        return jobs[: max(1, suspects[0])] if suspects else jobs

    def answered_since_first_start(self, job: Job) -> int:
        """How many other images of the archive got their outcome since the job was first begun in vain."""
        query = (
            "SELECT count(*) FROM job WHERE archive=? AND state IN ('done', 'refused') "
            "AND finished>(SELECT first_start FROM job WHERE number=?)"
        )
        ((count,),) = self._file.read(query, (job.archive, job.number))
        return count

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Give jobs up that are no worse for it: an archive is down, or the service stops."""
        with self._file.lock:
            self._running -= {job.number for job in jobs}
            with self._file.transaction() as database:
                for job in jobs:
                    database.execute("UPDATE job SET starts=max(starts-1, 0) WHERE number=?", (job.number,))

    def note_results(self, job: Job, instances: Sequence[str]) -> None:
        """Remember which objects are ours, before they are sent: they never become jobs."""
        with self._file.transaction() as database:
            rows = [(job.archive, instance, job.number) for instance in instances]
            database.executemany("INSERT OR REPLACE INTO result VALUES (?, ?, ?)", rows)

    def finish(
        self, job: Job, state: str, *, reason: str | None = None, probabilities: Sequence[float] | None = None
    ) -> None:
        """Close a job: `done` (the archive has confirmed), `refused` or `dead`."""
        scores = None if probabilities is None else json.dumps(list(probabilities))
        with self._file.transaction() as database:
            database.execute(
                "UPDATE job SET state=?, reason=?, probabilities=?, finished=? WHERE number=?",
                (state, reason, scores, time.time(), job.number),
            )
            self._running.discard(job.number)

    def postpone(self, job: Job, reason: str, *, seconds: float, counts: bool) -> None:
        """Try again later; a failure of the job's own counts as an attempt."""
        with self._file.transaction() as database:
            database.execute(
                "UPDATE job SET attempts=attempts+?, deferrals=deferrals+?, starts=0, reason=?, not_before=? "
                "WHERE number=?",
                (int(counts), int(not counts), reason, time.time() + seconds, job.number),
            )
            self._running.discard(job.number)

    def counts(self, state: str) -> dict[str, int]:
        """Number of jobs that are `waiting` or `dead`, by archive."""
        query = f"SELECT archive, count(*) FROM job WHERE state='{_INDEXED[state]}' GROUP BY archive"  # noqa: S608
        return dict(self._file.read(query))

    def oldest(self) -> dict[str, float]:
        """When the oldest waiting job of each archive was noticed."""
        query = "SELECT archive, min(noticed) FROM job WHERE state='waiting' GROUP BY archive"
        return dict(self._file.read(query))

    def latest_probabilities(self, count: int) -> list[list[float]]:
        """Class probabilities of the latest answers, oldest first."""
        rows = self._file.read(
            "SELECT probabilities FROM job WHERE probabilities IS NOT NULL ORDER BY finished DESC LIMIT ?",
            (count,),
        )
        return [json.loads(text) for (text,) in reversed(rows)]

    def forget(self, *, before: float) -> None:
        """Drop what was finished long ago; dead letters stay."""
        with self._file.transaction() as database:
            database.execute(
                "DELETE FROM job WHERE state IN ('done', 'refused', 'dropped') AND finished<?", (before,)
            )
            database.execute("DELETE FROM result WHERE job NOT IN (SELECT number FROM job)")

    def dead_letters(self) -> list[Job]:
        """Jobs that were given up, oldest first."""
        query = f"SELECT {_COLUMNS} FROM job WHERE state='dead' ORDER BY number"  # noqa: S608
        return [_job(row) for row in self._file.read(query)]

    def revive(self, numbers: Sequence[int]) -> list[int]:
        """Let dead letters be tried again; returns those that were."""
        return self._settle(
            numbers, "state='waiting', attempts=0, deferrals=0, starts=0, not_before=0, finished=NULL"
        )

    def drop(self, numbers: Sequence[int]) -> list[int]:
        """Close dead letters for good; returns those that were."""
        return self._settle(numbers, "state='dropped'")

    def _settle(self, numbers: Sequence[int], change: str) -> list[int]:
        settled = []
        with self._file.transaction() as database:
            for number in numbers:
                query = f"UPDATE job SET {change} WHERE number=? AND state='dead'"  # noqa: S608 (no outside text)
                if database.execute(query, (number,)).rowcount:
                    settled.append(number)
        return settled


def _job(row: tuple) -> Job:
    return Job(*row)
