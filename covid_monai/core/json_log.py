"""Log lines as JSON, which cannot name a patient.

Only words of this package are written: the name of an event, and values that its caller chose. Messages of
libraries hold addresses with UIDs, values of elements, file names: of them only who spoke, and how loudly.
An exception is its type and the places it came through, not its text.
"""

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime

_OURS = ("covid_monai.worker", "covid_monai.api")
# What callers may say, by the argument `extra`.
FIELDS = (
    "archive",
    "job",
    "instance",
    "reason",
    "stage",
    "count",
    "seconds",
    "position",
    "address",
    "signal",
    "psi",
    "method",
    "route",
    "status",
)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Say when, how loud, what, and the fields."""
        ours = record.name.startswith(_OURS)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.msg if ours else "library_message",
            "logger": None if ours else record.name,
            **{name: getattr(record, name, None) for name in FIELDS},
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = type(record.exc_info[1]).__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["where"] = [f"{frame.name}:{frame.lineno}" for frame in frames]
        return json.dumps({key: value for key, value in line.items() if value is not None})


def log_as_json() -> None:
    """Let all logging of this process go to the standard error as `JsonLines`, uncaught exceptions too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("pydicom").setLevel(logging.ERROR)  # warns of oddities in every other real file
    threading.excepthook = _log_thread


def _log_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        logging.getLogger(__name__).critical("thread_ended", exc_info=arguments.exc_value)
