"""Events of our own loggers reach the JSON log; messages of all others do not."""

import json
import logging
import subprocess
import sys

import pytest

from covid_monai.core.json_log import JsonFormatter

SCRIPT = """
import logging, sys, threading
from covid_monai.core.json_log import log_as_json
log_as_json()
for name in sys.argv[1:]:
    logging.getLogger(name).info("happened", extra={"archive": "ward", "patient": "DOE"})
logging.getLogger("pydicom").error("PatientName DOE")
logging.getLogger("covid_monai.readers.image_files").warning("DOE.dcm is left out")
thread = threading.Thread(target=lambda: {}["DOE"])
thread.start()
thread.join()
"""
OURS = ["covid_monai.worker.service", "covid_monai.api.application", "covid_monai.pacs.client"]


@pytest.fixture(scope="module")
def log():
    command = [sys.executable, "-c", SCRIPT, *OURS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "DOE" not in done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_events_of_worker_service_and_pacs_client_are_written_with_their_fields(log):
    events = [(line["event"], line["archive"]) for line in log if line["level"] == "info"]
    assert events == [("happened", "ward")] * len(OURS)


def test_messages_of_others_tell_only_their_logger(log):
    others = [line for line in log if line["event"] == "library_message"]
    assert [line["logger"] for line in others] == ["pydicom", "covid_monai.readers.image_files"]


def test_an_exception_that_ends_a_thread_is_an_event(log):
    assert [(line["event"], line["error"]) for line in log if line["level"] == "critical"] == [
        ("thread_ended", "KeyError")
    ]


def logged(logger, *arguments, **options):
    record = logging.getLogger(logger).makeRecord(
        logger, logging.WARNING, "", 0, *arguments, options.get("exc_info"), extra=options.get("extra")
    )
    return json.loads(JsonFormatter().format(record))


def test_a_librarys_words_and_an_exceptions_text_stay_out_of_the_log():
    line = logged("urllib3.connectionpool", "GET %s", ("/studies/1.2?PatientName=Doe",))
    assert line["event"] == "library_message"
    assert "Doe" not in json.dumps(line)
    try:
        raise ValueError("PatientName is Doe^Jane")
    except ValueError as error:
        exception = (type(error), error, error.__traceback__)
    line = logged("covid_monai.worker.service", "service_failed", (), exc_info=exception, extra={"job": 7})
    assert (line["event"], line["error"], line["job"]) == ("service_failed", "ValueError", 7)
    assert line["where"]
    assert "Doe" not in json.dumps(line)
