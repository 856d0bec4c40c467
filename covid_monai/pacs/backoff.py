"""Waiting after failures: how long, and whether an archive is available."""

import random
import threading

_FIRST_WAIT_S = 1.0


def full_jitter(failures: int, *, longest_s: float) -> float:
    """Return a random time in seconds, below a bound that doubles with every failure.

    The time is random, so that many clients that lost their connection together do not come back together.

    Args:
        failures: Number of failures in a row, 1 or more.
        longest_s: Largest value of the bound, in seconds.

    Reference: Brooker 2015, "Exponential Backoff and Jitter".
    """
    return random.uniform(0, min(longest_s, _FIRST_WAIT_S * 2 ** min(failures, 32)))  # noqa: S311 (no secret)


class Availability:
    """Record of whether an archive answers; several threads may share it.

    Args:
        longest_wait_s: Longest wait before the next try, in seconds.
        stop: Event that is set when the service ends; it ends a wait, too.
    """

    def __init__(self, *, longest_wait_s: float, stop: threading.Event) -> None:
        self._longest_wait_s = longest_wait_s
        self._stop = stop
        self._lock = threading.Lock()
        self._failures = 0
        self.failure_reason: str | None = None

    @property
    def is_up(self) -> bool:
        """Whether the last request succeeded."""
        return self.failure_reason is None

    def record_success(self) -> bool:
        """Record a success; return whether the archive was unavailable before."""
        with self._lock:
            was_down, self.failure_reason, self._failures = self.failure_reason is not None, None, 0
        return was_down

    def record_failure(self, reason: str) -> bool:
        """Record a failure; return whether its reason is a new one, which is worth a log line."""
        with self._lock:
            is_new, self.failure_reason = self.failure_reason != reason, reason
            self._failures += 1
        return is_new

    def wait(self) -> None:
        """Wait before the next try, or until the service stops."""
        self._stop.wait(full_jitter(max(1, self._failures), longest_s=self._longest_wait_s))
