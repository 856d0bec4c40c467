"""The command worker: its check, dead letters and a new queue; worker/test_orthanc.py runs the service."""

import json
from typing import NamedTuple

import pytest
import yaml

from covid_monai.pacs.connection import InstanceAddress
from covid_monai.worker.queue import JobQueue, lock_state_dir, queue_path
from covid_monai.worker.rules import Notice

ARCHIVES = [
    {"name": "main", "source": "orthanc", "url": "http://127.0.0.1:9"},
    {"name": "other", "source": "dicomweb", "url": "http://127.0.0.1:19/dicom-web"},
]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "worker.yaml"
    path.write_text(yaml.safe_dump({"state_dir": str(tmp_path / "state"), "archives": ARCHIVES}))
    return path


@pytest.fixture
def letters(run, config):
    """Three dead letters; gives the command `dead-letters` and the queue."""
    queue = JobQueue(config.parent / "state")
    queue.add("main", [Notice(InstanceAddress("1.2", "1.3", f"1.4.{n}")) for n in (1, 2, 3)], position=None)
    for job in queue.claim("main", 3):
        queue.finish(job, "dead", reason="unreadable")
    yield lambda word, *options: run("worker", "dead-letters", word, "--config", config, *options), queue
    queue.close()


def numbers(queue):
    return [job.number for job in queue.dead_letters()]


def test_dead_letters_are_listed_with_their_numbers_and_reasons(letters):
    command, _ = letters
    code, out, err = command("list")
    assert code == 0
    assert out.splitlines() == [f"{n}\tmain\t1 try\tunreadable\t1.4.{n}" for n in (1, 2, 3)]
    assert err.strip() == "3 dead letters."
    listed = json.loads(command("list", "--json")[1])["dead_letters"]
    assert listed[1] == {
        **{"job": 2, "archive": "main", "tries": 1, "reason": "unreadable", "sop_instance_uid": "1.4.2"}
    }


def test_dead_letters_are_retried_by_number_and_dropped_together(letters):
    command, queue = letters
    assert command("retry", 2)[:2] == (0, "1 dead letter put back into the queue.\n")
    assert numbers(queue) == [1, 3]
    assert command("drop", "--all")[:2] == (0, "2 dead letters dropped.\n")
    assert numbers(queue) == []
    assert queue.count("waiting") == {"main": 1}
    assert command("drop", "--all")[:2] == (0, "0 dead letters dropped.\n")
    trail = queue.path.with_name("audit.jsonl").read_text().splitlines()
    lines = [(line["event"], line["job"], line["reason"]) for line in map(json.loads, trail)]
    assert [line[:2] for line in lines] == [("retried", 2), ("dropped", 1), ("dropped", 3)]


def test_a_job_that_is_no_dead_letter_is_named_and_the_others_are_done(letters):
    command, queue = letters
    code, out, err = command("drop", 1, 77)
    assert (code, out) == (1, "1 dead letter dropped.\n")
    assert "These jobs are not dead letters: 77." in err
    assert numbers(queue) == [2, 3]


def test_decisions_about_dead_letters_are_told_to_programs(letters):
    command, queue = letters
    code, out, err = command("retry", "--json", 1, 77)
    assert (code, json.loads(out)) == (1, {"retried": [1], "not_dead_letters": [77]})
    assert "77" in err
    code, out, _ = command("drop", "--json", "--all")
    assert (code, json.loads(out)) == (0, {"dropped": [2, 3], "not_dead_letters": []})
    assert numbers(queue) == []


@pytest.mark.usefixtures("letters")
def test_the_status_of_a_stopped_worker_is_a_finding(run, config):
    code, out, _ = run("worker", "status", "--config", config)
    assert code == 1
    assert "The worker is not running" in out
    assert "3 images given up" in out
    code, out, _ = run("worker", "status", "--config", config, "--json")
    assert (code, json.loads(out)["status"]) == (1, "stopped")


@pytest.mark.usefixtures("letters")
def test_an_image_is_explained_and_an_unknown_uid_is_a_finding(run, config):
    code, out, _ = run("worker", "explain", "--config", config, "1.4.2")
    assert code == 0
    assert "unreadable. The object cannot be decoded." in out
    code, out, _ = run("worker", "explain", "--config", config, "1.4.2", "--json")
    assert (code, json.loads(out)["images"][0]["state"]) == (0, "dead_letter")
    code, out, err = run("worker", "explain", "--config", config, "1.9")
    assert code == 1
    assert "Archive other could not be asked: ConnectionError" in out
    assert "Nothing is known of 1.9" in err
    code, out, _ = run("worker", "explain", "--config", config, "1.9", "--json")
    assert (code, json.loads(out)["images"]) == (1, [])
    code, out, err = run("worker", "explain", "--config", config, "QZNAME")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "is not a UID" in err


def test_waiting_images_are_made_due_and_whether_a_worker_runs_is_told(letters, run, config):
    command, queue = letters
    command("retry", "--all")
    for job in queue.claim("main", 2):
        queue.postpone(job, "http_404", seconds=600, counts=False)
    code, out, _ = run("worker", "retry-now", "--config", config)
    assert code == 0
    assert "2 images made due" in out
    assert "The worker is not running" in out
    with lock_state_dir(config.parent / "state"):
        assert "within seconds" in run("worker", "retry-now", "--config", config)[1]
        code, out, _ = run("worker", "retry-now", "--config", config, "--json")
    assert (code, json.loads(out)) == (0, {"images": 0, "worker_running": True})


@pytest.mark.parametrize(
    "words", [("status",), ("explain", "1.4.1"), ("retry-now",), ("dead-letters", "list")]
)
def test_a_queue_that_cannot_be_used_is_one_line(run, config, words):
    path = queue_path(config.parent / "state")
    path.parent.mkdir()
    path.write_bytes(b"no database at all " * 100)
    code, out, err = run("worker", *words, "--config", config)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "queue.sqlite is damaged" in err
    path.unlink()
    code, out, err = run("worker", *words, "--config", config)
    assert (code, out) == (2, "")
    assert "no worker has run with this configuration yet" in err
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("options", [(), ("--all", 1)])
def test_either_numbers_or_all_must_be_given(letters, options):
    command, queue = letters
    code, _, err = command("retry", *options)
    assert code == 2
    assert "Give either --all, or the job numbers" in err
    assert numbers(queue) == [1, 2, 3]


def test_without_a_queue_there_is_nothing_to_list_and_none_is_made(run, config):
    code, _, err = run("worker", "dead-letters", "list", "--config", config)
    assert code == 2
    assert "no worker has run with this configuration yet" in err
    assert not (config.parent / "state").exists()


def test_a_damaged_queue_is_kept_aside_and_feeds_are_read_from_their_start(run, config):
    path = queue_path(config.parent / "state")
    path.parent.mkdir()
    path.write_bytes(b"no database")
    code, out, _ = run("worker", "set-aside", "--config", config)
    assert code == 0
    (kept,) = path.parent.glob("queue.2*.sqlite")
    assert kept.read_bytes() == b"no database"
    code, as_json, _ = run("worker", "set-aside", "--config", config, "--json")
    assert code == 0
    assert json.loads(as_json)["kept"].startswith(str(path.parent / "queue.2"))
    assert f"The old queue is kept as {kept}." in out
    queue = JobQueue(path.parent)
    assert queue.position("main") == "0"
    assert queue.position("other") is None
    queue.close()


def test_without_a_queue_a_new_one_is_begun_and_a_running_worker_is_left_alone(run, config):
    assert "There was no queue." in run("worker", "set-aside", "--config", config)[1]
    with lock_state_dir(config.parent / "state"):
        code, _, err = run("worker", "set-aside", "--config", config)
    assert code == 2
    assert "Another worker uses the folder" in err


class Finding(NamedTuple):
    level: str
    text: str


@pytest.mark.parametrize("level", ["FAIL", "note"])
def test_a_check_prints_each_finding_and_what_to_do(run, config, monkeypatch, level):
    found = [Finding("ok", "A folder."), Finding(level, "An archive.")]
    monkeypatch.setattr("covid_monai.worker.check.run_checks", lambda *_: iter(found))
    code, out, _ = run("worker", "check", "--config", config)
    assert code == (level == "FAIL")
    assert out.splitlines()[:2] == ["ok    A folder.", f"{level:5} An archive."]
    assert ("Not ready." in out) == (level == "FAIL")
    assert (f"covid-monai worker --config {config}" in out) == (level != "FAIL")
    code, out, _ = run("worker", "check", "--config", config, "--json")
    assert code == (level == "FAIL")
    assert json.loads(out) == {
        "ready": level != "FAIL",
        "findings": [{"result": "ok", "text": "A folder."}, {"result": level, "text": "An archive."}],
    }


def test_the_service_runs_with_settings_bundle_and_a_locked_folder(run, config, bundle, monkeypatch):
    content = yaml.safe_load(config.read_text()) | {"bundle": str(bundle.root)}
    config.write_text(yaml.safe_dump(content))
    ran = []

    class Service:
        def __init__(self, settings, folder, started):
            ran.append((settings.state_dir, folder, started > 1.7e9))

        def run(self):
            with pytest.raises(ValueError, match="Another worker"), lock_state_dir(ran[0][0]):
                pass

    monkeypatch.setattr("covid_monai.worker.service.Service", Service)
    code, _, err = run("worker", "--config", config)
    assert code == 0, err
    assert ran == [(config.parent / "state", bundle.root, True)]


def test_a_missing_configuration_is_told(run, tmp_path):
    code, _, err = run("worker")
    assert code == 2
    assert "--config FILE" in err
    code, _, err = run("worker", "check", "--config", tmp_path / "no.yaml")
    assert code == 2
    assert "no.yaml" in err
