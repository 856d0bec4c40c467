"""Full jitter: how long to wait before the next try, and whether an archive is up."""

import random
import threading

FIRST_SECONDS = 1.0


def full_jitter(failures: int, *, longest: float) -> float:
    """A random time below a bound that doubles with every failure, in seconds.

    Many clients that were cut off together do not come back together.

    Args:
        failures: In a row, 1 or more.
        longest: The bound's own bound.

    Reference: Brooker 2015, "Exponential Backoff and Jitter".
    """
    return random.uniform(0, min(longest, FIRST_SECONDS * 2 ** min(failures, 32)))  # noqa: S311 (no secret)


class Availability:
    """Whether an archive is up, as its threads have seen it, and what it has been able to do.

    Args:
        longest: Longest pause in seconds.
        stop: Set when the service ends; no pause outlasts it.
    """

    def __init__(self, *, longest: float, stop: threading.Event) -> None:
        self._longest = longest
        self._stop = stop
        self._lock = threading.Lock()
        self._failures = 0
        self.successes = 0  # jobs that were answered to the end
        self.unclear: dict[int, int] = {}  # jobs that failed with nobody to blame: successes at that time
        self.trouble: str | None = None

    @property
    def up(self) -> bool:
        """Whether the last request went well."""
        return self.trouble is None

    def worked(self, *, answered: bool = False) -> bool:
        """Note a success; returns whether the archive had been down."""
        with self._lock:
            back, self.trouble, self._failures = self.trouble is not None, None, 0
            self.successes += answered
        return back

    def failed(self, reason: str) -> bool:
        """Note a failure; returns whether this is news."""
        with self._lock:
            news, self.trouble = self.trouble != reason, reason
            self._failures += 1
        return news

    def pause(self) -> None:
        """Wait before the next try, or until the service stops."""
        self._stop.wait(full_jitter(max(1, self._failures), longest=self._longest))
