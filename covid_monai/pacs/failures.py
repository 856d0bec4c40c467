"""Failures of requests to an archive: whose fault they are, and how long to wait after them."""

import random
import threading
import time
from collections import Counter
from enum import StrEnum

import requests
from urllib3.exceptions import MaxRetryError

_FIRST_WAIT_S = 1.0
_WAKE_S = 0.5  # until a thread that waits notices that it shall not
# Status codes about the archive, or about our access to it.
_ARCHIVE_STATUS = frozenset({401, 402, 403, 407, 408, 421, 425, 429, 502, 503, 504, 507, 509})


class Fault(StrEnum):
    """The side that must change before another try can succeed."""

    OBJECT = "object"  # this one object cannot be processed
    ARCHIVE = "archive"  # the archive is unavailable, or refuses every request
    UNCLEAR = "unclear"  # it can be either; whether other objects succeed will show it


class ArchiveFailure(Exception):
    """A request to an archive, or work on an object from it, failed.

    The reason is one or two words for metrics, audit and log; never text that came from outside.
    """

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason


def classify_error(error: requests.RequestException, *, storing: bool = False) -> ArchiveFailure:
    """Say whose fault a failed request is; the text of the error holds UIDs and is not passed on.

    No status is about one object for certain: an archive whose storage is not mounted answers 404 for every
    image. While results are being sent (`storing`), 404 is about the service.
    """
    if error.response is None:
        return ArchiveFailure(_fault_without_answer(error), type(error).__name__)
    status = error.response.status_code
    is_archive = status in _ARCHIVE_STATUS or (storing and status in (404, 410))
    return ArchiveFailure(Fault.ARCHIVE if is_archive else Fault.UNCLEAR, f"http_{status}")


def _fault_without_answer(error: requests.RequestException) -> Fault:
    if isinstance(error, requests.exceptions.SSLError | requests.ConnectTimeout | requests.TooManyRedirects):
        return Fault.ARCHIVE
    # MaxRetryError: no connection was made. If it broke later, this object may have broken it.
    not_connected = isinstance(error, requests.ConnectionError) and isinstance(
        next(iter(error.args), None), MaxRetryError
    )
    return Fault.ARCHIVE if not_connected else Fault.UNCLEAR


def full_jitter(failures: int, *, longest_s: float) -> float:
    """Return a random time in seconds, below a bound that doubles with every failure.

    The time is random, so that many clients that lost their connection together do not come back together.
    The bound is never more than `longest_s`. There has been at least 1 failure in a row.

    Reference: Brooker 2015, "Exponential Backoff and Jitter".
    """
    return random.uniform(0, min(longest_s, _FIRST_WAIT_S * 2 ** min(failures, 32)))  # noqa: S311 (no secret)


class Availability:
    """Record of whether an archive answers, by stage; several threads may share it. `stop` ends a wait."""

    def __init__(self, *, longest_wait_s: float, stop: threading.Event) -> None:
        self._longest_wait_s = longest_wait_s
        self._stop = stop
        self._lock = threading.Lock()
        self._wakes = 0  # calls of `end_waits`
        self._failures: Counter[str] = Counter()  # in a row, by stage
        self._reasons: dict[str, str] = {}  # of the last failure, by stage
        self._since: dict[str, float] = {}  # time of the first failure in a row, by stage

    @property
    def failure_reason(self) -> str | None:
        """Why the last request of a stage failed; None if that of every stage succeeded."""
        return next(iter(list(self._reasons.values())), None)

    @property
    def failing_since(self) -> float | None:
        """When the failures began that last until now, in seconds since 1970; None if there are none."""
        return min(list(self._since.values()), default=None)

    def record_success(self, *stages: str) -> bool:
        """Record a success; return whether one of the stages failed before."""
        with self._lock:
            were_down = self._reasons.keys() & set(stages)
            for stage in were_down:
                del self._reasons[stage], self._failures[stage], self._since[stage]
        return bool(were_down)

    def record_failure(self, stage: str, reason: str) -> bool:
        """Record a failure; return whether its reason is a new one, which is worth a log line."""
        with self._lock:
            is_new, self._reasons[stage] = self._reasons.get(stage) != reason, reason
            self._failures[stage] += 1
            self._since.setdefault(stage, time.time())
        return is_new

    def wait(self) -> None:
        """Wait before the next try, until `end_waits`, or until the service stops."""
        with self._lock:
            failures, wakes = max(self._failures.values(), default=1), self._wakes
        end = time.monotonic() + full_jitter(failures, longest_s=self._longest_wait_s)
        while self._wakes == wakes and (left := end - time.monotonic()) > 0:
            if self._stop.wait(min(left, _WAKE_S)):
                return

    def end_waits(self) -> None:
        """Let the threads that wait try again at once, with short waits after that."""
        with self._lock:
            self._wakes += 1
            self._failures = Counter(dict.fromkeys(self._failures, 1))
