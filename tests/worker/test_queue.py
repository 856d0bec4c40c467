"""Queue on disk: no job is lost or given to two threads; a damaged file is reported and kept."""

import json
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone

import pytest

from covid_monai.pacs.connection import InstanceAddress
from covid_monai.worker.queue import (
    JobQueue,
    QueueError,
    lock_state_dir,
    queue_errors,
    queue_path,
    set_queue_aside,
)
from covid_monai.worker.rules import KNOWN, OWN_RESULT, Notice

MADE = datetime(2026, 11, 30, 15, 4, 5, 678, tzinfo=timezone(timedelta(hours=-3)))


def notices(*numbers):
    return [Notice(InstanceAddress("1.2", "1.3", f"1.4.{number}")) for number in numbers]


def unknown(queue, archive, found):
    return [notice for notice in queue.recognise(archive, found) if notice.refusal != KNOWN]


def add(queue, *numbers, archive="a", position=None):
    queue.add(archive, notices(*numbers), position=position)


@pytest.fixture
def queue(tmp_path):
    found = JobQueue(tmp_path / "state")
    yield found
    found.close()


def test_two_notices_of_one_image_make_one_job(queue):
    add(queue, 1, 2)
    add(queue, 2, 3)
    assert [job.address.sop_instance_uid for job in queue.claim("a", 10)] == ["1.4.1", "1.4.2", "1.4.3"]
    assert unknown(queue, "a", notices(3, 4, 4)) == notices(4)
    assert [notice.refusal for notice in queue.recognise("a", notices(3, 4, 4))] == [KNOWN, None, KNOWN]
    add(queue, 1, archive="b")
    assert queue.count("waiting") == {"a": 3, "b": 1}


def test_jobs_and_position_are_stored_together_or_not_at_all(queue):
    add(queue, 1, position="7")
    broken = Notice(InstanceAddress("1.2", "1.3", None))
    with pytest.raises(sqlite3.IntegrityError):
        queue.add("a", [*notices(2), broken], position="8")
    assert queue.position("a") == "7"
    assert queue.count("waiting") == {"a": 1}


def test_two_threads_never_get_the_same_job(queue):
    add(queue, *range(200))
    taken = []

    def take():
        while jobs := queue.claim("a", 3):
            taken.extend(job.number for job in jobs)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(taken) == sorted(set(taken))
    assert len(taken) == 200


def test_a_job_waits_again_after_the_process_was_killed(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from covid_monai.worker.queue import JobQueue\n"
        "from covid_monai.pacs.connection import InstanceAddress\n"
        "from covid_monai.worker.rules import KNOWN, OWN_RESULT, Notice\n"
        "queue = JobQueue(Path(sys.argv[1]))\n"
        "queue.add('a', [Notice(InstanceAddress('1', '1', '1'))], position='5')\n"
        "assert queue.claim('a', 5); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], timeout=60, check=False)
    assert done.returncode == -9
    queue = JobQueue(tmp_path)
    (job,) = queue.claim("a", 5)
    assert queue.position("a") == "5"
    assert job.starts == 2
    queue.close()


def test_a_job_with_many_starts_comes_alone_and_last(tmp_path):
    for _ in range(3):
        queue = JobQueue(tmp_path)
        add(queue, 1, 2)
        queue.claim("a", 1)
        queue.close()  # as if it had ended here
    queue = JobQueue(tmp_path)
    add(queue, 3)
    assert [[job.number for job in queue.claim("a", 5)] for _ in range(2)] == [[2, 3], [1]]
    queue.close()


def test_a_job_that_is_put_back_loses_no_attempt(queue):
    add(queue, 1)
    for _ in range(50):
        (job,) = queue.claim("a", 1)
        queue.put_back([job])
    (job,) = queue.claim("a", 1)
    assert (job.starts, job.attempts) == (1, 0)
    queue.put_back([job], starts_count=True)
    assert queue.claim("a", 1)[0].starts == 2


def test_dead_letters_are_listed_retried_or_dropped(queue):
    add(queue, 1, 2)
    for job in queue.claim("a", 2):
        queue.finish(job, "dead", reason="unreadable")
    assert [job.reason for job in queue.dead_letters()] == ["unreadable"] * 2
    assert queue.retry_dead_letters([1, 99]) == [1]
    assert queue.drop_dead_letters([2]) == [2]
    assert [job.attempts for job in queue.claim("a", 5)] == [0]
    assert queue.dead_letters() == []
    assert unknown(queue, "a", notices(2)) == []  # dropped, not forgotten: a search would find it again


def test_our_own_results_never_become_jobs(queue):
    add(queue, 1)
    (job,) = queue.claim("a", 1)
    queue.add_results(job, ["1.4.77"], MADE)
    (result,) = unknown(queue, "a", notices(77))
    assert result.refusal == OWN_RESULT  # which is counted
    queue.add("a", [result], position=None)
    assert unknown(queue, "a", notices(77)) == []
    assert queue.claim("a", 1) == []


def test_a_job_keeps_the_time_when_its_results_were_made(queue):
    add(queue, 1)
    (job,) = queue.claim("a", 1)
    assert job.results_made is None
    queue.add_results(job, ["1.4.77"], MADE)
    queue.postpone(job, "http_503", seconds=0, counts=True)
    (job,) = queue.claim("a", 1)
    assert job.results_made.isoformat() == MADE.isoformat()
    queue.finish(job, "dead", reason="http_503")
    queue.retry_dead_letters([job.number])
    assert queue.claim("a", 1)[0].results_made == MADE


def test_finished_jobs_are_forgotten_in_time_and_dead_letters_are_not(queue):
    add(queue, 1, 2, 3)
    done, dead, _ = queue.claim("a", 3)
    queue.add_results(done, ["1.4.77"], MADE)
    queue.finish(done, "done", probabilities=[0.2, 0.8])
    queue.finish(dead, "dead", reason="http_404")
    assert queue.latest_probabilities(5) == [[0.2, 0.8]]
    queue.forget(before=time.time() + 1)
    assert [job.number for job in queue.dead_letters()] == [dead.number]
    assert unknown(queue, "a", notices(1, 2, 3, 77)) == notices(1, 77)


def test_probabilities_come_back_in_order(queue):
    add(queue, 1, 2)
    for job, row in zip(queue.claim("a", 2), ([0.1, 0.9], [0.3, 0.7]), strict=True):
        queue.finish(job, "done", probabilities=row)
    assert json.dumps(queue.latest_probabilities(9)) == "[[0.1, 0.9], [0.3, 0.7]]"


def test_a_second_worker_is_refused(tmp_path):
    refused = pytest.raises(QueueError, match="Another worker uses the folder")
    with lock_state_dir(tmp_path), refused, lock_state_dir(tmp_path):
        pass


@pytest.mark.parametrize("damage", ["no database", "a page"])
def test_a_damaged_queue_is_an_error_and_kept(tmp_path, damage):
    queue = JobQueue(tmp_path)
    add(queue, *range(500), position="9")
    queue.close()
    path = queue_path(tmp_path)
    content = bytearray(path.read_bytes())
    content[0 if damage == "no database" else 8192 : 12288] = b"\xff" * 4096
    path.write_bytes(content)
    with pytest.raises(QueueError, match=r"is damaged.*Nothing was changed.*set-aside"):
        JobQueue(tmp_path)
    assert path.read_bytes() == content
    kept = set_queue_aside(tmp_path)
    assert kept.read_bytes() == content
    assert not path.exists()
    JobQueue(tmp_path).close()


def test_a_queue_of_another_version_is_an_error(tmp_path):
    JobQueue(tmp_path).close()
    with sqlite3.connect(queue_path(tmp_path)) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(QueueError, match="format 99"):
        JobQueue(tmp_path)


def test_a_retry_at_once_makes_waiting_jobs_due_and_is_told_to_the_worker(queue):
    add(queue, 1, 2, 3)
    first, second, third = queue.claim("a", 3)
    queue.postpone(first, "http_404", seconds=600, counts=False)
    queue.postpone(second, "unreadable", seconds=600, counts=True)
    queue.finish(third, "dead", reason="unreadable")
    assert queue.claim("a", 3) == []
    assert queue.wake_times() == {}
    assert queue.retry_now(["a", "b"]) == 2
    assert queue.wake_times().keys() == {"a", "b"}
    assert time.time() - queue.wake_times()["a"] < 60
    due = [*queue.claim("a", 3), *queue.claim("a", 3)]
    assert sorted(job.number for job in due) == [1, 2]
    assert {job.attempts for job in due} == {0, 1}  # no try is forgiven
    assert [job.number for job in queue.dead_letters()] == [3]


def test_a_queue_that_another_program_has_locked_is_told_as_that(queue):
    other = sqlite3.connect(queue.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    queue._database.execute("PRAGMA busy_timeout=50")
    expected = pytest.raises(OSError, match=r"queue\.sqlite is locked by another program\. Try again")
    with expected, queue_errors(queue.path):
        queue.retry_now(["a"])
    other.close()
