"""The view of the queue: what it counts and finds, and that it makes and changes nothing."""

import sqlite3
import time

import pytest

from covid_monai.worker.inspection import queue_view
from covid_monai.worker.inspection.queue_view import open_queue_view
from covid_monai.worker.queue import queue_path


def test_jobs_are_counted_by_what_happens_to_them(filled):
    with open_queue_view(filled.settings.state_dir) as view:
        assert view.counts() == {"main": {"waiting": 4, "in_work": 1, "delayed": 1, "dead_letters": 1}}
        assert view.outcomes() == {"main": {"done": 1, "refused": 1, "dead": 1}}
        assert time.time() - view.latest_outcomes()["main"] < 60
        assert view.oldest_jobs()["main"].number == 4
        waiting, dead = sorted(view.failures(), key=lambda one: one.state, reverse=True)
    assert (waiting.reason, waiting.count, waiting.latest) == ("http_404", 1, None)
    assert waiting.next_try == pytest.approx(time.time() + 600, abs=60)
    assert (dead.reason, dead.count, dead.next_try) == ("unreadable", 1, None)


def test_an_outcome_of_yesterday_is_not_one_of_the_last_day(filled):
    with filled.queue._transaction() as database:
        database.execute("UPDATE job SET finished=finished-90000 WHERE state='done'")
    with open_queue_view(filled.settings.state_dir) as view:
        assert view.outcomes() == {"main": {"refused": 1, "dead": 1}}


def test_jobs_are_found_by_image_study_and_result(filled):
    with open_queue_view(filled.settings.state_dir) as view:
        assert [job.number for job in view.find("1.4.3")] == [3]
        assert [job.number for job in view.find("1.2.1")] == [1, 3, 5, 7]
        (job,) = view.find("1.5.2")
        assert (job.number, job.state) == (1, "done")
        assert view.results_of(job) == ["1.5.1", "1.5.2"]
        assert view.find("1.3.1") == []
        (delayed,), (last,) = view.find("1.4.5"), view.find("1.4.7")
        assert (view.count_before(last), view.count_before(delayed)) == (2, 3)  # deferred: behind the others


def test_without_a_queue_none_is_made(settings):
    with pytest.raises(FileNotFoundError, match="no worker has run"), open_queue_view(settings.state_dir):
        pass
    assert not settings.state_dir.exists()


def test_a_view_writes_nothing(filled):
    filled.queue.close()
    path = queue_path(filled.settings.state_dir)
    before = path.read_bytes()
    expected = pytest.raises(OSError, match="readonly")
    with expected, open_queue_view(filled.settings.state_dir) as view:
        view._database.execute("DELETE FROM job")
    assert path.read_bytes() == before


def test_a_locked_queue_is_told_in_one_line(filled, monkeypatch):
    filled.queue.close()
    monkeypatch.setattr(queue_view, "_TIMEOUT_S", 0.1)
    path = queue_path(filled.settings.state_dir)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        expected = pytest.raises(OSError, match=r"queue\.sqlite is locked by another program\. Try again")
        with expected, open_queue_view(filled.settings.state_dir) as view:
            view.counts()
    other.close()


@pytest.mark.parametrize("content", [b"no database at all " * 100, b""])
def test_a_damaged_queue_is_told_with_the_way_out(settings, content):
    settings.state_dir.mkdir()
    queue_path(settings.state_dir).write_bytes(content)
    expected = pytest.raises(ValueError, match=r"is damaged.*set-aside|has format 0.*set-aside")
    with expected, open_queue_view(settings.state_dir):
        pass


def test_a_queue_that_this_user_may_not_read_names_who_may(filled, monkeypatch):
    def stat(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    expected = pytest.raises(PermissionError, match="Run this command as root or as the user of the worker")
    with monkeypatch.context() as patch, expected:
        patch.setattr(type(filled.settings.state_dir), "stat", stat)
        with open_queue_view(filled.settings.state_dir):
            pass
