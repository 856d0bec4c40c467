"""Log lines as JSON, which cannot name a patient.

A message of a library may hold a UID, the value of an element or a file name. Therefore only events of the
worker, the REST service and their PACS client are written in full: their name, and fields that the caller
chose. Of any other message the line tells only the logger and the level. An exception appears as its type and
the places that it passed, without its text.
"""

import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

EVENT_LOGGERS = ("covid_monai.worker", "covid_monai.api", "covid_monai.pacs", __name__)
# Fields that a caller may give in the argument `extra`.
FIELDS = (
    *("archive", "job", "instance", "reason", "stage", "count", "seconds", "position", "address", "signal"),
    *("psi", "method", "route", "status", "rules", "caller"),
)


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, event and fields of a record as JSON."""
        is_event = record.name.startswith(EVENT_LOGGERS)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.msg if is_event else "library_message",
            "logger": None if is_event else record.name,
            **{name: getattr(record, name, None) for name in FIELDS},
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = type(record.exc_info[1]).__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["where"] = [f"{frame.name}:{frame.lineno}" for frame in frames]
        return json.dumps({key: value for key, value in line.items() if value is not None})


def log_as_json() -> None:
    """Send all log records of this process, and uncaught exceptions of threads, to the standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in EVENT_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("pydicom").setLevel(logging.ERROR)  # warns of oddities in every other real file
    threading.excepthook = _log_thread_exception


@contextmanager
def log_level(name: str, level: int) -> Iterator[None]:
    """Set the level of a logger for the block."""
    logger = logging.getLogger(name)
    previous = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(previous)


def _log_thread_exception(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        logging.getLogger(__name__).critical("thread_ended", exc_info=arguments.exc_value)
