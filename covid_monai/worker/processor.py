"""One batch of one archive from the queue to results that the archive has confirmed."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydicom import Dataset

from covid_monai.core.vocabulary import Status
from covid_monai.inference.prediction import Prediction
from covid_monai.pacs.backoff import Availability, full_jitter
from covid_monai.pacs.client import ArchiveClient
from covid_monai.pacs.failures import Fault, Trouble
from covid_monai.readers.sandbox import DecodeSandbox, SandboxResult
from covid_monai.worker.common import Common
from covid_monai.worker.queue.queue import Job

logger = logging.getLogger(__name__)

MAX_STARTS = 10  # without any outcome: the service itself ended each time
PROOF = 3  # other images answered meanwhile: the service can work, it is this one that ends it
_RETRY_LATER = 3  # an object's own failures are given more time than a first retry: 2**3 s at least


class _GivenUp(Exception):
    """The rest of a batch goes back to the queue."""


class Courier:
    """Answers the jobs of one archive; one for each of its connections.

    Args:
        client: Of the archive.
        check: Decodes first, in a process with limits.
        common: What all share.
        availability: Of the archive, for fetching and storing.
        spool: Folder for fetched files.
    """

    def __init__(
        self,
        client: ArchiveClient,
        check: DecodeSandbox,
        common: Common,
        availability: Availability,
        spool: Path,
    ) -> None:
        self._client = client
        self._archive = client.archive.name
        self._check = check
        self._common = common
        self._availability = availability
        self._spool = spool
        self._open: dict[int, Job] = {}

    def step(self) -> bool:
        """Answer what waits, a batch at most; returns whether there was anything to do."""
        jobs = self._common.queue.claim(self._archive, self._common.settings.batch_size)
        self._open = {job.number: job for job in jobs}
        try:
            self._answer(jobs)
        except _GivenUp:
            self._availability.pause()
        finally:
            for job in jobs:
                self._file(job).unlink(missing_ok=True)
            if self._open:
                self._common.queue.put_back(list(self._open.values()))
        return bool(jobs)

    def _file(self, job: Job) -> Path:
        return self._spool / f"{job.number}.dcm"  # nothing of the object becomes part of a path

    def _answer(self, jobs: Sequence[Job]) -> None:
        fetched = [job for job in jobs if self._fetched(job)]
        if not fetched:
            return
        files = [self._file(job) for job in fetched]
        with self._common.metrics.timed(self._archive, "check"):
            verdicts = [self._verdict(file) for file in files]
        with self._common.metrics.timed(self._archive, "classify"):
            predictions = self._common.model.predict(files, verdicts)
        for job, prediction in zip(fetched, predictions, strict=True):
            if self._common.stop.is_set():
                return
            self._settle(job, prediction)

    def _verdict(self, file: Path) -> SandboxResult:
        return self._check.check(file)

    def _fetched(self, job: Job) -> bool:
        """Fetch an image; False if it could not be had."""
        if self._common.stop.is_set():
            raise _GivenUp
        if job.starts > MAX_STARTS and self._common.queue.answered_since_first_start(job) >= PROOF:
            self._bury(job, "ends_the_service")
            return False
        with self._failures(job, "fetch"):
            self._client.fetch(job, self._file(job))
            return True
        return False

    def _settle(self, job: Job, prediction: Prediction) -> None:
        """Store what goes out, see it there, write it down, and only then close the job."""
        with self._failures(job, "results"):
            if prediction.status is Status.ERROR:
                raise Trouble(Fault.OBJECT, str(prediction.reason))
            objects = self._common.model.results(prediction)
            self._deliver(job, objects)
            self._close(job, prediction, objects)

    def _deliver(self, job: Job, objects: Sequence[Dataset]) -> None:
        if not objects:
            return
        self._common.queue.note_results(job, [str(ds.SOPInstanceUID) for ds in objects])
        with self._common.metrics.timed(self._archive, "store"):
            self._client.store(objects)
        with self._common.metrics.timed(self._archive, "confirm"):
            self._client.confirm(objects, stopped=self._common.stop.wait)

    def _close(self, job: Job, prediction: Prediction, objects: Sequence[Dataset]) -> None:
        self._common.audit.write(
            "answered" if prediction.ok else "refused",
            archive=self._archive,
            job=job.number,
            instance=job.instance,
            study=job.study,
            by=None if prediction.ok else "classifier",
            reason=prediction.reason,
            predicted_class=prediction.predicted_class,
            probabilities=prediction.probabilities,
            decision=(prediction.decision or {}).get("class"),
            model=prediction.model["weights_sha256"][:16],
            results=[self._common.identifiers.show(str(ds.SOPInstanceUID)) for ds in objects] or None,
        )
        scores = None if prediction.probabilities is None else list(prediction.probabilities.values())
        state = "done" if prediction.ok else "refused"
        self._common.queue.finish(job, state, reason=prediction.reason, probabilities=scores)
        self._settled(job)
        if scores is not None:
            self._common.drift.add(scores)
            self._common.metrics.answered.labels(self._archive, prediction.predicted_class).inc()
        else:
            self._common.metrics.refused.labels(self._archive, prediction.reason).inc()
        self._common.metrics.observe(self._archive, "total", time.time() - job.noticed)
        if self._availability.worked(answered=True):
            logger.info("archive_back", extra={"archive": self._archive, "stage": "work"})

    def _settled(self, job: Job) -> None:
        self._open.pop(job.number, None)
        self._availability.unclear.pop(job.number, None)

    @contextmanager
    def _failures(self, job: Job, stage: str) -> Iterator[None]:
        """Time a stage; a failure in it is the job's own, or gives the rest of the batch up."""
        try:
            with self._common.metrics.timed(self._archive, stage):
                yield
        except Trouble as trouble:
            if self._common.stop.is_set():
                raise _GivenUp from trouble
            self._common.metrics.failures.labels(self._archive, stage, trouble.fault).inc()
            self._fail(job, stage, trouble)

    def _fail(self, job: Job, stage: str, trouble: Trouble) -> None:
        fields = {
            **{"archive": self._archive, "job": job.number, "stage": stage, "reason": trouble.reason},
            "instance": self._common.identifiers.show(job.instance),
        }
        if trouble.fault is Fault.OBJECT or self._proved_able(job, trouble):
            logger.warning("image_failed", extra=fields)
            self._count(job, trouble.reason)
            return
        if self._availability.failed(trouble.reason):
            logger.warning("archive_in_trouble", extra=fields)
        if trouble.fault is Fault.UNCLEAR:  # others go first: their fate tells whose fault it is
            seconds = full_jitter(_RETRY_LATER, longest=self._longest)
            self._availability.unclear.setdefault(job.number, self._availability.successes)
            self._common.queue.postpone(job, trouble.reason, seconds=seconds, counts=False)
            self._open.pop(job.number, None)
        raise _GivenUp from trouble

    def _proved_able(self, job: Job, trouble: Trouble) -> bool:
        """Whether the archive is up, and has answered another image since this one first failed."""
        before = self._availability.unclear.get(job.number)
        able = before is not None and self._availability.successes > before and self._availability.up
        return able and trouble.fault is Fault.UNCLEAR

    @property
    def _longest(self) -> float:
        return self._common.settings.limits.longest_pause_seconds

    def _count(self, job: Job, reason: str) -> None:
        if job.attempts + 1 >= self._common.settings.limits.attempts:
            self._bury(job, reason)
            return
        seconds = full_jitter(job.attempts + _RETRY_LATER, longest=self._longest)
        self._common.queue.postpone(job, reason, seconds=seconds, counts=True)
        self._open.pop(job.number, None)

    def _bury(self, job: Job, reason: str) -> None:
        self._common.audit.write(
            "dead_letter",
            archive=self._archive,
            job=job.number,
            instance=job.instance,
            study=job.study,
            reason=reason,
        )
        self._common.queue.finish(job, "dead", reason=reason)
        self._settled(job)
        logger.error("dead_letter", extra={"archive": self._archive, "job": job.number, "reason": reason})
