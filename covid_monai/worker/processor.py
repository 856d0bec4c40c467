"""Processing of one batch of an archive: from the queue to results that the archive has confirmed."""

import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from prometheus_client import Histogram
from pydicom import Dataset

from covid_monai.core.atomic_files import open_private
from covid_monai.core.vocabulary import DecoderNotStarted, Status
from covid_monai.inference.prediction import Prediction
from covid_monai.pacs.client import ArchiveClient
from covid_monai.pacs.failures import ArchiveFailure, Fault
from covid_monai.readers.sandbox import DecodeSandbox
from covid_monai.worker.context import WorkerContext
from covid_monai.worker.monitoring import DECODER_FAILURE
from covid_monai.worker.queue import Job
from covid_monai.worker.retry import Action, RetryPolicy
from covid_monai.worker.settings import Archive

logger = logging.getLogger(__name__)


class _BatchStopped(Exception):
    """The rest of the batch goes back to the queue."""


@dataclass
class BatchProcessor:
    """Process the jobs of one archive; each of the archive's connections has a processor."""

    archive: Archive
    client: ArchiveClient
    sandbox: DecodeSandbox  # decodes every image first, in a process with limits
    context: WorkerContext
    retry_policy: RetryPolicy
    _unfinished: dict[int, Job] = field(default_factory=dict, init=False)
    _token: str = field(default_factory=lambda: secrets.token_hex(4), init=False)
    _files: set[Path] = field(default_factory=set, init=False)  # fetched and not yet removed

    def process_batch(self) -> bool:
        """Process the jobs that are due, one batch at most; return whether there were any."""
        jobs = self.context.queue.claim(self.archive.name, self.context.settings.batch_size)
        self._unfinished = {job.number: job for job in jobs}
        try:
            self._process(jobs)
        except _BatchStopped:
            self.retry_policy.availability.wait()
        except DecoderNotStarted:
            self._record_decoder(DECODER_FAILURE)
            raise
        except MemoryError:  # this image may always need too much: its start counts, as after a crash
            self.context.queue.put_back(list(self._unfinished.values()), starts_count=True)
            self._unfinished.clear()
            raise
        finally:
            self._files |= {self._file_of(job) for job in jobs}
            self._remove_files()  # never raises: the jobs must go back to the queue
            if self._unfinished:
                self.context.queue.put_back(list(self._unfinished.values()))
        return bool(jobs)

    def _remove_files(self) -> None:
        """Remove fetched files; one that cannot be removed is tried again with every batch."""
        failure = None
        for file in list(self._files):
            try:
                file.unlink(missing_ok=True)
                self._files.remove(file)
            except OSError as error:
                failure = type(error).__name__
        if self.context.failures.record(f"files-{id(self)}", failure) and failure:
            fields = {"archive": self.archive.name, "reason": failure, "count": len(self._files)}
            logger.error("files_not_removed", extra=fields)

    def _file_of(self, job: Job) -> Path:
        # Nothing of the object becomes part of a path. A file that another process left is in nobody's way.
        return self.context.settings.spool_dir / f"{job.number}-{self._token}.dcm"

    def _stage(self, name: str) -> Histogram:
        return self.context.metrics.stages.labels(self.archive.name, name)

    def _process(self, jobs: Sequence[Job]) -> None:
        fetched = [job for job in jobs if self._fetch(job)]
        if not fetched:
            return
        files = [self._file_of(job) for job in fetched]
        with self._stage("check").time():
            verdicts = [self.sandbox.check(file) for file in files]
        with self._stage("classify").time():
            predictions = self.context.model.predict(files, verdicts)
        for job, prediction in zip(fetched, predictions, strict=True):
            if self.context.stop.is_set():
                return
            with self._failures_handled(job, "results"):
                self._store_and_close(job, prediction)
        self._record_decoder(None)

    def _record_decoder(self, failure: str | None) -> None:
        """Record whether images can be decoded; an idle thread does not know."""
        name = self.archive.name
        if self.context.failures.record(f"decoder of {name}", failure):
            event = "decoder_failing" if failure else "decoder_works_again"
            logger.log(logging.ERROR if failure else logging.INFO, event, extra={"archive": name})

    def _fetch(self, job: Job) -> bool:
        """Fetch an image; return whether that succeeded."""
        if self.context.stop.is_set():
            raise _BatchStopped
        if self.retry_policy.has_ended_the_service(job, self.context.queue):
            self._give_up(job, "ends_the_service")
            return False
        with self._failures_handled(job, "fetch"):
            with open(self._file_of(job), "wb", opener=open_private) as file:
                self.client.fetch(job.address, file)
            return True
        return False

    def _store_and_close(self, job: Job, prediction: Prediction) -> None:
        """Store the results, confirm them, write the audit line, and only then close the job."""
        if str(prediction.detail).startswith(DecoderNotStarted.__name__):  # no fault of the image
            raise DecoderNotStarted(prediction.detail)
        if prediction.status is Status.ERROR:
            raise ArchiveFailure(Fault.OBJECT, str(prediction.reason))
        made = job.results_made or datetime.now().astimezone()
        objects = self.context.model.make_results(prediction, made)
        if objects:
            self.context.queue.add_results(job, [str(ds.SOPInstanceUID) for ds in objects], made)
            with self._stage("store").time():
                self.client.store(objects)
            with self._stage("confirm").time():
                seconds, wait_for_stop = self.archive.confirm_seconds, self.context.stop.wait
                self.client.confirm(objects, seconds=seconds, wait_for_stop=wait_for_stop)
        self._write_audit_line(job, prediction, objects)
        self._close(job, prediction, was_stored=bool(objects))

    def _write_audit_line(self, job: Job, prediction: Prediction, objects: Sequence[Dataset]) -> None:
        self.context.audit.write(
            "answered" if prediction.ok else "refused",
            job.address,
            archive=self.archive.name,
            job=job.number,
            by=None if prediction.ok else "classifier",
            reason=prediction.reason,
            predicted_class=prediction.predicted_class,
            probabilities=prediction.probabilities,
            decision=(prediction.decision or {}).get("class"),
            abnormal=(prediction.abnormal or {}).get("call"),
            cause=(prediction.cause or {}).get("name"),
            model=prediction.model["weights_sha256"][:16],
            results=[self.context.audit.format_uid(str(ds.SOPInstanceUID)) for ds in objects] or None,
        )

    def _close(self, job: Job, prediction: Prediction, *, was_stored: bool) -> None:
        scores = None if prediction.probabilities is None else list(prediction.probabilities.values())
        state = "done" if prediction.ok else "refused"
        self.context.queue.finish(job, state, reason=prediction.reason, probabilities=scores)
        self._unfinished.pop(job.number, None)
        stages = ("fetch", "results") if was_stored else ("fetch",)
        if self.retry_policy.record_finished(job, *stages):
            logger.info("archive_available_again", extra={"archive": self.archive.name, "stage": "work"})
        if scores is not None:
            self.context.drift.add(scores)
            self.context.metrics.answered.labels(self.archive.name, prediction.predicted_class).inc()
        else:
            self.context.metrics.refused.labels(self.archive.name, prediction.reason).inc()
        self._stage("total").observe(time.time() - job.noticed)

    @contextmanager
    def _failures_handled(self, job: Job, stage: str) -> Iterator[None]:
        """Measure the time of a stage; a failure in it ends the try of this job, or the whole batch."""
        try:
            with self._stage(stage).time():
                yield
        except ArchiveFailure as failure:
            if self.context.stop.is_set():
                raise _BatchStopped from failure
            self.context.metrics.failures.labels(self.archive.name, stage, failure.fault).inc()
            self._handle(job, stage, failure)

    def _handle(self, job: Job, stage: str, failure: ArchiveFailure) -> None:
        """Carry out what the retry policy decides."""
        action = self.retry_policy.decide(job, stage, failure)
        fields = {
            **{"archive": self.archive.name, "job": job.number, "stage": stage, "reason": failure.reason},
            "instance": self.context.audit.format_uid(job.address.sop_instance_uid),
        }
        if not action.stops_batch:
            logger.warning("image_failed", extra=fields)
        elif self.retry_policy.availability.record_failure(stage, failure.reason):
            logger.warning("archive_unavailable", extra=fields)
        if action is Action.GIVE_UP:
            self._give_up(job, failure.reason)
        elif action is not Action.WAIT_FOR_ARCHIVE:
            seconds = self.retry_policy.wait_s(job, action)
            self.context.queue.postpone(job, failure.reason, seconds=seconds, counts=action is Action.RETRY)
            self._unfinished.pop(job.number, None)
        if action.stops_batch:
            raise _BatchStopped from failure

    def _give_up(self, job: Job, reason: str) -> None:
        fields = {"archive": self.archive.name, "job": job.number, "reason": reason}
        self.context.audit.write("dead_letter", job.address, **fields)
        self.context.queue.finish(job, "dead", reason=reason)
        self._unfinished.pop(job.number, None)
        self.retry_policy.record_finished(job)
        logger.error("dead_letter", extra=fields)
