"""The status of a worker: stopped, starting, healthy, degraded, failing; and as lines for people."""

import time
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry

from covid_monai.worker.inspection.status import health_url, read_status, status_lines
from covid_monai.worker.monitoring import MonitoringServer
from covid_monai.worker.queue import is_state_dir_locked, lock_state_dir
from covid_monai.worker.settings import Monitoring, Settings

HEALTH = {
    "status": "ok",
    "version": "9.9",
    "started": 1.8e9,
    "archives": {"main": {"up": True, "failure": None, "since": None}, "other": {"up": True}},
    "storage_failure": None,
    "decoder_failure": None,
    "ended_threads": [],
}


@contextmanager
def running(settings, health=HEALTH):
    """A locked state folder, and a server that answers for a worker; gives the settings with its port."""
    server = MonitoringServer("127.0.0.1", 0, registry=CollectorRegistry(), get_health=lambda: (True, health))
    port = int(server.url.rpartition(":")[2])
    with lock_state_dir(settings.state_dir):
        yield settings.model_copy(update={"monitoring": Monitoring(port=port)})
    server.close()


def test_a_stopped_worker_is_told_with_its_queue(filled):
    status = read_status(filled.settings)
    assert (status["status"], status["running"]) == ("stopped", False)
    main, other = status["archives"]
    assert main["up"] is None
    assert {key: main[key] for key in ("waiting", "in_work", "delayed", "dead_letters")} == {
        **{"waiting": 4, "in_work": 1, "delayed": 1, "dead_letters": 1}
    }
    assert main["oldest_job"] == 4
    assert (other["name"], other["waiting"], other["refused_last_day"]) == ("other", 0, 0)
    text = "\n".join(status_lines(status))
    assert "The worker is not running" in text
    assert "4 images waiting, of these 1 in work and 1 until their next try; the oldest is job 4" in text
    assert "1 answered, 1 refused by the classifier, 1 given up" in text
    assert "1 image waiting for another try in 10 min: http_404. The archive does not send the image" in text
    assert "1 image given up, the last 0 s ago: unreadable. The object cannot be decoded" in text


def test_a_healthy_worker_tells_since_when_it_runs(filled):
    health = HEALTH | {"started": time.time() - 7200}
    with running(filled.settings, health) as settings:
        status = read_status(settings)
    assert (status["status"], status["running"], status["version"]) == ("ok", True, "9.9")
    lines = list(status_lines(status))
    assert lines[0].startswith("ok    The worker 9.9 has run since 20")
    assert "(2 h). Its status is ok." in lines[0]
    assert "ok    Archive main answers." in lines


def test_an_unavailable_archive_and_a_failing_machine_are_told_with_the_way_out(filled):
    down = {"up": False, "failure": "http_401", "since": time.time() - 60}
    health = HEALTH | {"status": "failing", "archives": {"main": down}, "ended_threads": ["watch-main"]}
    health |= {"storage_failure": "OSError", "decoder_failure": "decoder_cannot_start"}
    with running(filled.settings, health) as settings:
        text = "\n".join(status_lines(read_status(settings)))
    assert "FAIL  Archive main is unavailable since 20" in text
    assert "http_401. The archive does not accept the credentials. Check username and password" in text
    assert "FAIL  The disk or the queue cannot be written (OSError)." in text
    assert "FAIL  The process that decodes images cannot be started" in text
    assert "FAIL  These threads have ended: watch-main. Restart the worker." in text


def test_a_worker_that_does_not_answer_yet_or_has_no_known_port(filled):
    with running(filled.settings) as settings:
        wrong = settings.model_copy(update={"monitoring": Monitoring(port=9)})
        assert read_status(wrong)["status"] == "no_answer"
        assert "is starting, or it hangs" in next(status_lines(read_status(wrong)))
        free = settings.model_copy(update={"monitoring": Monitoring(port=0)})
        assert read_status(free)["status"] == "unknown"
        assert "monitoring.port is 0" in next(status_lines(read_status(free)))


def test_another_program_at_the_port_is_no_worker(filled):
    with running(filled.settings, {"hello": "world"}) as settings:
        assert read_status(settings)["status"] == "no_answer"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("192.0.2.1", "192.0.2.1")],
)
def test_the_health_is_asked_where_the_worker_listens(host, expected):
    assert health_url(Monitoring(host=host, port=9108)) == f"http://{expected}:9108/healthz"


def test_a_question_never_keeps_a_worker_from_its_start(settings, tmp_path):
    with lock_state_dir(settings.state_dir):
        assert is_state_dir_locked(settings.state_dir)
    assert not is_state_dir_locked(settings.state_dir)
    assert not is_state_dir_locked(tmp_path / "no such folder")
    with lock_state_dir(settings.state_dir):  # the question has left no lock
        pass


def test_a_folder_that_this_user_may_not_read_is_told(settings, monkeypatch):
    def deny(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("covid_monai.worker.inspection.status.is_state_dir_locked", deny)
    with pytest.raises(PermissionError, match="as root or as the user of the worker"):
        read_status(settings)


def test_archives_that_left_the_configuration_are_not_listed_but_their_failures_are(filled):
    content = filled.settings.model_dump(mode="json") | {
        "archives": [{"name": "new", "source": "orthanc", "url": "http://127.0.0.1:9"}]
    }
    status = read_status(Settings.model_validate(content))
    assert [one["name"] for one in status["archives"]] == ["new"]
    assert {one["archive"] for one in status["failures"]} == {"main"}
