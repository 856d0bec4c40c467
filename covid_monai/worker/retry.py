"""Retry policy: whether, and when, the worker tries an image again after a failure."""

import threading
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
    | object | `RETRY` until `limits.attempts` is reached, then `GIVE_UP` |
    | archive | `WAIT_FOR_ARCHIVE`, as long as it takes |
    | unclear | `DEFER`; once another image has succeeded since the first failure, as for "object" |
    """

    def __init__(self, limits: Limits, availability: Availability) -> None:
        self._limits = limits
        self.availability = availability
        self._lock = threading.Lock()
        self._successes = 0
        self._successes_at_first_failure: dict[int, int] = {}  # by the number of a deferred job

    def decide(self, job: Job, failure: ArchiveFailure) -> Action:
        """Decide what happens to an image after a failure."""
        if failure.fault is Fault.ARCHIVE:
            return Action.WAIT_FOR_ARCHIVE
        if failure.fault is Fault.UNCLEAR and not self._others_succeed(job):
            with self._lock:
                self._successes_at_first_failure.setdefault(job.number, self._successes)
            return Action.DEFER
        return Action.GIVE_UP if job.attempts + 1 >= self._limits.attempts else Action.RETRY

    def wait_s(self, job: Job, action: Action) -> float:
        """Return a random time before the next try of the image, in seconds; it grows with its attempts."""
        failures = _FIRST_EXPONENT + (job.attempts if action is Action.RETRY else 0)
        return full_jitter(failures, longest_s=self._limits.longest_wait_seconds)

    def has_ended_the_service(self, job: Job, queue: JobQueue) -> bool:
        """Return whether an image has ended the process again and again, while others were finished."""
        return job.starts > MAX_STARTS and queue.count_finished_since_first_start(job) >= MIN_OTHERS_FINISHED

    def record_finished(self, job: Job, *, succeeded: bool) -> None:
        """Forget a job that is finished; a success proves what the archive can do."""
        with self._lock:
            self._successes += succeeded
            self._successes_at_first_failure.pop(job.number, None)

    def _others_succeed(self, job: Job) -> bool:
        """Return whether the archive answers, and another image succeeded since this job first failed."""
        with self._lock:
            before = self._successes_at_first_failure.get(job.number)
            return before is not None and self._successes > before and self.availability.is_up
