"""Whose fault a failure is: the object's, the archive's, or not to be told yet."""

from enum import StrEnum

import requests
from urllib3.exceptions import MaxRetryError

# Answers about the one object that was asked for or sent.
_OBJECT_STATUS = frozenset({400, 404, 406, 409, 410, 411, 413, 414, 415, 416, 422})
# Answers about the archive or our access to it.
_ARCHIVE_STATUS = frozenset({401, 402, 403, 407, 408, 421, 425, 429, 502, 503, 504, 507, 509})


class Fault(StrEnum):
    """Who must change for another try to succeed."""

    OBJECT = "object"  # counts as an attempt; the last one makes a dead letter
    ARCHIVE = "archive"  # counts nothing; the archive is given a pause
    UNCLEAR = "unclear"  # counts once the archive has proved able to do the same for another object


class Trouble(Exception):
    """Something that an archive, or an object out of it, did to a job.

    Args:
        fault: Whose it is.
        reason: A word or two for metrics, audit and log; never text that came from outside.
    """

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason


def trouble_of(error: requests.RequestException, *, storing: bool = False) -> Trouble:
    """What a failed request means.

    Args:
        error: Of requests; its text holds addresses with UIDs and is not passed on.
        storing: Whether results were being sent: then 404 is about the service, not about an object.
    """
    response = getattr(error, "response", None)
    if response is None:
        return Trouble(_fault_of(error), type(error).__name__)
    status = response.status_code
    reason = f"http_{status}"
    if status in _ARCHIVE_STATUS or (storing and status in (404, 410)):
        return Trouble(Fault.ARCHIVE, reason)
    return Trouble(Fault.OBJECT if status in _OBJECT_STATUS else Fault.UNCLEAR, reason)


def _fault_of(error: requests.RequestException) -> Fault:
    if isinstance(error, requests.exceptions.SSLError | requests.ConnectTimeout | requests.TooManyRedirects):
        return Fault.ARCHIVE
    # No connection at all. One that broke later may have been broken by this very object.
    refused = isinstance(error, requests.ConnectionError) and isinstance(
        next(iter(error.args), None), MaxRetryError
    )
    return Fault.ARCHIVE if refused else Fault.UNCLEAR
