"""Retry policy: whether, and when, the worker tries an image again after a failure."""

import threading
from collections import Counter
from enum import Enum, auto

from covid_monai.pacs.failures import ArchiveFailure, Availability, Fault, full_jitter
from covid_monai.worker.queue import Job, JobQueue
from covid_monai.worker.settings import Limits

MAX_STARTS = 10  # starts without any outcome: the service itself ended each time
MIN_OTHERS_FINISHED = 3  # this many other images prove that the service can work
_FIRST_EXPONENT = 3  # a failed image waits longer than a failed request: the first bound is 2**3 s


class Action(Enum):
    """What happens to an image after a failure."""

    RETRY = auto()  # try again later; the failure counts as an attempt
    GIVE_UP = auto()  # no attempt is left: the image becomes a dead letter
    DEFER = auto()  # try again behind the other images; the failure does not count
    WAIT_FOR_ARCHIVE = auto()  # put the image back as it was, and wait until the archive answers

    @property
    def stops_batch(self) -> bool:
        """Whether the archive may be at fault, so that the rest of the batch must wait, too."""
        return self in (Action.DEFER, Action.WAIT_FOR_ARCHIVE)


class RetryPolicy:
    """Retry policy of one archive; the threads of the archive share it.

    | fault | action |
    |---|---|
    | object | `RETRY` until `limits.attempts` is reached, then `GIVE_UP` as soon as the archive works |
    | archive | `WAIT_FOR_ARCHIVE`, as long as it takes |
    | unclear | `DEFER`; if another image has succeeded since the last failure, as for "object" |

    Success is counted by stage: an archive whose disk is full can still send images, and an image that gets
    no results proves nothing about storing.
    """

    def __init__(self, limits: Limits, availability: Availability) -> None:
        self._limits = limits
        self.availability = availability
        self._lock = threading.Lock()
        self._successes: Counter[str] = Counter()  # by stage
        self._successes_at_failure: dict[tuple[int, str], int] = {}  # by number of the job, and stage

    def decide(self, job: Job, stage: str, failure: ArchiveFailure) -> Action:
        """Decide what happens to an image after a failure in a stage."""
        if failure.fault is Fault.ARCHIVE:
            return Action.WAIT_FOR_ARCHIVE
        if failure.fault is Fault.UNCLEAR and not self._others_succeed(job, stage):
            return Action.DEFER
        is_last = job.attempts + 1 >= self._limits.attempts and self.availability.failure_reason is None
        return Action.GIVE_UP if is_last else Action.RETRY

    def wait_s(self, job: Job, action: Action) -> float:
        """Return a random time before the next try of the image, in seconds; it grows with its attempts."""
        failures = _FIRST_EXPONENT + (job.attempts if action is Action.RETRY else 0)
        return full_jitter(failures, longest_s=self._limits.longest_wait_seconds)

    def has_ended_the_service(self, job: Job, queue: JobQueue) -> bool:
        """Return whether an image has ended the process again and again, while others were finished."""
        return job.starts > MAX_STARTS and queue.count_finished_since_first_start(job) >= MIN_OTHERS_FINISHED

    def record_finished(self, job: Job, *stages: str) -> bool:
        """Forget a job that is finished; each stage that succeeded proves what the archive can do.

        Returns:
            Whether this ends an outage of the archive.
        """
        with self._lock:
            self._successes.update(stages)
            for stage in ("fetch", "results"):
                self._successes_at_failure.pop((job.number, stage), None)
        return self.availability.record_success(*stages)

    def _others_succeed(self, job: Job, stage: str) -> bool:
        """Return whether the archive works, and another image succeeded since this job last failed."""
        with self._lock:
            before = self._successes_at_failure.get((job.number, stage))
            self._successes_at_failure[job.number, stage] = now = self._successes[stage]
            return before is not None and now > before and self.availability.failure_reason is None
