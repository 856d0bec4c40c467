"""The service: its state and health, and what ends a thread and what only makes it wait."""

import os
import signal
import sqlite3
import threading
import time

import pytest
import requests

from covid_monai import __version__
from covid_monai.core.vocabulary import DecoderNotStarted
from covid_monai.pacs.connection import InstanceAddress
from covid_monai.worker import service as module
from covid_monai.worker.queue import QueueError
from covid_monai.worker.rules import Notice
from covid_monai.worker.service import Service
from covid_monai.worker.settings import Settings

ARCHIVES = (
    {"name": "a", "source": "orthanc", "url": "http://127.0.0.1:9", "connections": 2},
    {"name": "b", "source": "dicomweb", "url": "http://127.0.0.1:19/dicom-web", "connections": 1},
)


class Model:
    """No network: these tests classify nothing."""

    reference, image_size, class_names = None, 64, ("no", "yes")

    def __init__(self, settings, folder):
        pass


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A service whose threads have not been started."""
    monkeypatch.setattr(module, "Model", Model)
    settings = Settings(
        state_dir=tmp_path / "state",
        archives=ARCHIVES,
        monitoring={"port": 0},
        limits={"longest_wait_seconds": 0.1, "stop_seconds": 5},
    )
    service = Service(settings, tmp_path, time.time())
    yield service
    service._monitoring.close()
    service._context.queue.close()
    for sandbox in service._sandboxes:
        sandbox.close()


def names(service):
    return [thread.name for thread in service._threads]


def in_thread(service, step):
    """Repeat a step in a thread of a name, until the service stops."""
    thread = threading.Thread(target=service._repeat, args=(step,), name="step")
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_each_archive_has_a_watcher_and_a_thread_for_each_connection(service):
    assert names(service) == ["watch-a", "process-a-0", "process-a-1", "watch-b", "process-b-0"]
    assert all(thread.daemon for thread in service._threads)
    assert len(service._sandboxes) == 2


def test_the_state_counts_what_waits_and_what_was_given_up(service):
    queue = service._context.queue
    queue.add("a", [Notice(InstanceAddress("1.2", "1.3", f"1.4.{n}")) for n in range(3)], position=None)
    (job,) = queue.claim("a", 1)
    queue.finish(job, "dead", reason="unreadable")
    state = service._state()
    assert state["queue_jobs"] == {"a": 2, "b": 0}
    assert state["dead_letters"] == {"a": 1, "b": 0}
    assert 0 <= state["oldest_job_seconds"]["a"] < 60
    assert state["oldest_job_seconds"]["b"] == 0
    assert state["archive_up"] == {"a": 1, "b": 1}
    assert (state["storage_failing"], state["decoder_failing"]) == ({"": 0}, {"": 0})


def test_an_unavailable_archive_degrades_and_does_not_fail_the_service(service, monkeypatch):
    monkeypatch.setattr(service, "_threads", [])
    assert service._health()[1]["status"] == "ok"
    service._availabilities["b"].record_failure("store", "http_503")
    healthy, details = service._health()
    assert (healthy, details["status"]) == (True, "degraded")
    since = details["archives"]["b"].pop("since")
    assert 0 <= time.time() - since < 60
    assert details["archives"] == {
        "a": {"up": True, "failure": None, "since": None},
        "b": {"up": False, "failure": "http_503"},
    }
    assert details["version"] == __version__
    assert service._state()["archive_up"] == {"a": 1, "b": 0}


def test_a_full_disk_a_missing_decoder_and_an_ended_thread_fail_it(service, monkeypatch):
    healthy, details = service._health()
    assert not healthy
    assert details["ended_threads"] == names(service)  # none has begun
    monkeypatch.setattr(service, "_threads", [])
    for reason, key in (("OSError", "storage_failure"), ("decoder_cannot_start", "decoder_failure")):
        service._context.failures.record("x", reason)
        healthy, details = service._health()
        assert (healthy, details["status"], details[key]) == (False, "failing", reason)
        service._context.failures.record("x", None)
    assert service._health()[0]


def test_health_and_metrics_are_answered_over_http(service):
    answer = requests.get(f"{service._monitoring.url}/healthz", timeout=10)
    assert (answer.status_code, answer.json()["status"]) == (503, "failing")
    text = requests.get(f"{service._monitoring.url}/metrics", timeout=10).text
    assert 'covid_monai_archive_up{archive="b"} 1.0' in text
    assert "process_cpu_seconds_total" in text
    assert "_created" not in text


@pytest.mark.parametrize("error", [OSError("full"), sqlite3.OperationalError("locked")])
def test_a_failure_of_the_storage_makes_a_thread_wait_and_is_told_once(service, caplog, error):
    caplog.set_level("INFO")
    tries = []

    def step():
        tries.append(service._context.failures.of_storage())
        if len(tries) < 4:
            raise error
        service._stop.set()

    in_thread(service, step)
    assert tries == [None, *[type(error).__name__] * 3]
    assert service._fatal_error is None
    assert service._context.failures.of_storage() is None
    told = [record.msg for record in caplog.records]
    assert (told.count("storage_failing"), told.count("storage_works_again")) == (1, 1)


def test_a_decoder_that_cannot_start_makes_a_thread_wait(service):
    tries = []

    def step():
        tries.append(1)
        if len(tries) == 3:
            service._stop.set()
        raise DecoderNotStarted("no process")

    in_thread(service, step)
    assert len(tries) == 3
    assert service._fatal_error is None


def test_any_other_error_ends_the_service(service, caplog):
    def step():
        raise LookupError("a fault of ours")

    in_thread(service, step)
    assert service._stop.is_set()
    assert isinstance(service._fatal_error, LookupError)
    assert "service_failed" in [record.msg for record in caplog.records]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(None, None), (LookupError("ours"), LookupError), (sqlite3.DatabaseError("malformed"), QueueError)],
)
def test_a_run_ends_with_the_error_that_ended_a_thread(service, monkeypatch, error, raised):
    def step():
        if error is not None:
            raise error
        service._stop.set()

    service._threads = [threading.Thread(target=service._repeat, args=(step,), name="step", daemon=True)]
    handlers = []
    monkeypatch.setattr(signal, "signal", lambda number, _: handlers.append(number))
    if raised is None:
        service.run()
    else:
        with pytest.raises(raised, match=r"ours|set-aside"):
            service.run()
    assert handlers == [signal.SIGTERM, signal.SIGINT]
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{service._monitoring.url}/healthz", timeout=5)


def test_the_first_signal_stops_in_order_and_the_second_at_once(service, monkeypatch):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    service._on_signal(signal.SIGTERM, None)
    assert service._stop.is_set()
    assert left == []
    service._on_signal(signal.SIGINT, None)
    assert left == [0]


def test_a_thread_that_does_not_end_is_left_behind(service, monkeypatch):
    left, block = [], threading.Event()
    monkeypatch.setattr(os, "_exit", left.append)
    service._settings = service._settings.model_copy(
        update={"limits": service._settings.limits.model_copy(update={"stop_seconds": 0})}
    )
    service._threads = [threading.Thread(target=block.wait, daemon=True)]
    service._threads[0].start()
    service._end()
    block.set()
    assert left == [0]


def test_a_full_disk_does_not_stop_the_daily_cleaning(service, monkeypatch, caplog):
    days = service._settings.limits.keep_days
    asked = []
    monkeypatch.setattr(service._context.queue, "forget", lambda before: asked.append(before))
    service._forget_old_jobs()
    assert asked == [pytest.approx(time.time() - 86400 * days, abs=60)]

    def fail(**_):
        raise sqlite3.OperationalError("full")

    monkeypatch.setattr(service._context.queue, "forget", fail)
    service._forget_old_jobs()
    assert [record.msg for record in caplog.records] == ["storage_failing"]


def test_only_images_that_a_killed_process_left_are_removed(tmp_path, caplog):
    spool = tmp_path / "new" / "spool"
    module._empty_spool(spool)
    assert spool.stat().st_mode & 0o777 == 0o700
    for name in ("a.dcm", "b.dcm", "notes.txt"):
        (spool / name).write_text("x")
    (spool / "folder.dcm").mkdir()
    module._empty_spool(spool)
    assert sorted(path.name for path in spool.iterdir()) == ["folder.dcm", "notes.txt"]
    (record,) = caplog.records
    assert (record.msg, record.count) == ("files_not_removed", 1)


def test_a_thread_without_jobs_waits_for_a_notice(monkeypatch):
    monkeypatch.setattr(module, "_IDLE_SECONDS", 30)
    has_jobs, batches = threading.Event(), [True, False]

    class Processor:
        def process_batch(self):
            return batches.pop(0)

    module._process_or_wait(Processor(), has_jobs)  # there was a batch: no wait
    has_jobs.set()
    begin = time.monotonic()
    module._process_or_wait(Processor(), has_jobs)
    assert time.monotonic() - begin < 10
    assert not has_jobs.is_set()
    assert batches == []


def test_a_person_who_asks_for_another_try_ends_the_waits_once(service, monkeypatch, caplog):
    caplog.set_level("INFO")
    ended = []
    for name, availability in service._availabilities.items():
        monkeypatch.setattr(availability, "end_waits", lambda name=name: ended.append(name))
    service._end_waits()
    assert ended == []
    service._context.queue.retry_now(["b"])
    service._end_waits()
    service._end_waits()
    assert ended == ["b"]
    assert service._has_jobs["b"].is_set()
    assert [record.msg for record in caplog.records].count("retried_now") == 1
