"""Failures of requests to an archive, and whose fault they are."""

from enum import StrEnum

import requests
from urllib3.exceptions import MaxRetryError

# Status codes about the one object that was asked for or sent.
_OBJECT_STATUS = frozenset({400, 404, 406, 409, 410, 411, 413, 414, 415, 416, 422})
# Status codes about the archive, or about our access to it.
_ARCHIVE_STATUS = frozenset({401, 402, 403, 407, 408, 421, 425, 429, 502, 503, 504, 507, 509})


class Fault(StrEnum):
    """The side that must change before another try can succeed."""

    OBJECT = "object"  # this one object cannot be processed
    ARCHIVE = "archive"  # the archive is unavailable, or refuses every request
    UNCLEAR = "unclear"  # it can be either; whether other objects succeed will show it


class ArchiveFailure(Exception):
    """A request to an archive, or work on an object from it, failed.

    Args:
        fault: Side whose fault it is.
        reason: One or two words for metrics, audit and log; never text that came from outside.
    """

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason


def classify_error(error: requests.RequestException, *, storing: bool = False) -> ArchiveFailure:
    """Say whose fault a failed request is.

    Args:
        error: Error of the package `requests`. Its text holds addresses with UIDs and is not passed on.
        storing: Whether results were being sent. In that case 404 is about the service, not about an object.
    """
    if error.response is None:
        return ArchiveFailure(_fault_without_answer(error), type(error).__name__)
    status = error.response.status_code
    if status in _ARCHIVE_STATUS or (storing and status in (404, 410)):
        fault = Fault.ARCHIVE
    else:
        fault = Fault.OBJECT if status in _OBJECT_STATUS else Fault.UNCLEAR
    return ArchiveFailure(fault, f"http_{status}")


def _fault_without_answer(error: requests.RequestException) -> Fault:
    if isinstance(error, requests.exceptions.SSLError | requests.ConnectTimeout | requests.TooManyRedirects):
        return Fault.ARCHIVE
    # MaxRetryError: no connection was made. If it broke later, this object may have broken it.
    not_connected = isinstance(error, requests.ConnectionError) and isinstance(
        next(iter(error.args), None), MaxRetryError
    )
    return Fault.ARCHIVE if not_connected else Fault.UNCLEAR
