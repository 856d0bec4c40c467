"""Change feed: what Orthanc may answer when it is asked for new images; test_orthanc.py has a real one."""

import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from covid_monai.pacs.failures import ArchiveFailure, Fault
from covid_monai.worker.audit import AuditTrail
from covid_monai.worker.feeds import FeedWatcher, OrthancChangeFeed
from covid_monai.worker.monitoring import Metrics
from covid_monai.worker.queue import JobQueue
from covid_monai.worker.rules import Rules
from covid_monai.worker.settings import Archive, Limits

ARCHIVE = Archive(name="a", source="orthanc", url="http://127.0.0.1:9", start="beginning", poll_seconds=0.1)
TAGS = {
    "StudyInstanceUID": "1.2",
    "SeriesInstanceUID": "1.3",
    "SOPInstanceUID": "1.4",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
    "Modality": "CR",
    "ViewPosition": "PA",
}


class ShamClient:
    """Answers of Orthanc by path; an exception is raised."""

    def __init__(self, answers):
        self.answers = answers

    def get_json(self, path, **_parameters):
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        return answer


def change_feed(**answers):
    changes = {"Changes": [{"ChangeType": "NewInstance", "ID": "x"}], "Last": 7, "Done": True}
    known = {
        "/changes": changes,
        "/instances/x/metadata?expand": {"RemoteAET": "CR1", "SopClassUid": "1.2.840.10008.5.1.4.1.1.1"},
        "/instances/x/simplified-tags": TAGS,
        "/instances/x": {"MainDicomTags": {"SOPInstanceUID": "1.4"}},
    }
    return OrthancChangeFeed(ARCHIVE, ShamClient({**known, **answers}), Rules())


@pytest.fixture
def context(tmp_path):
    found = SimpleNamespace(
        settings=SimpleNamespace(limits=Limits(longest_wait_seconds=0.1)),
        queue=JobQueue(tmp_path),
        audit=AuditTrail(tmp_path / "audit.jsonl", "plain", tmp_path),
        metrics=Metrics(CollectorRegistry()),
        stop=threading.Event(),
    )
    yield found
    found.queue.close()


def test_a_change_becomes_a_job_and_the_position_moves(context):
    has_jobs = threading.Event()
    watcher = FeedWatcher(ARCHIVE, change_feed(), context, has_jobs)
    watcher.watch()  # finds the beginning of the feed
    watcher.watch()
    assert context.queue.position("a") == "7"
    assert has_jobs.is_set()
    assert [job.address.sop_instance_uid for job in context.queue.claim("a", 5)] == ["1.4"]


@pytest.mark.parametrize("answer", [{}, [], {"Last": "seven"}, {"Last": 7, "Changes": [{}]}])
def test_a_change_feed_of_another_shape_is_the_archives_failure_and_not_the_end(context, answer):
    context.queue.add("a", (), position="5")
    watcher = FeedWatcher(ARCHIVE, change_feed(**{"/changes": answer}), context, threading.Event())
    watcher.watch()
    assert watcher.availability.failure_reason == "unexpected_answer"
    assert context.queue.position("a") == "5"


def test_an_object_whose_attributes_cannot_be_read_is_skipped_after_three_requests():
    failure = ArchiveFailure(Fault.UNCLEAR, "http_500")
    feed = change_feed(**{"/instances/x/simplified-tags": failure})
    for _ in range(2):
        with pytest.raises(ArchiveFailure):
            list(feed.pages("5"))
    assert list(feed.pages("5")) == [([], "7")]


def test_an_object_that_is_gone_is_skipped_at_once():
    feed = change_feed(**{"/instances/x/metadata?expand": ArchiveFailure(Fault.OBJECT, "http_404")})
    assert list(feed.pages("5")) == [([], "7")]


def test_a_feed_that_counts_from_the_beginning_again_is_followed():
    assert list(change_feed().pages("9")) == [([], "0")]


class Feed:
    """Orthanc's changes one second apart, of which every second is a new instance; it counts requests."""

    def __init__(self, length, *, ahead_s=0, **failures):
        self.begin = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
        self.length, self.ahead, self.failures, self.requests = (
            length,
            timedelta(seconds=ahead_s),
            failures,
            0,
        )

    def at(self, number):
        return (self.begin + timedelta(seconds=number)).timestamp()

    def get_text(self, path):
        assert path == "/tools/now"
        if "clock" in self.failures:
            raise ArchiveFailure(Fault.ARCHIVE, "http_403")
        return f"{datetime.now(UTC) + self.ahead:%Y%m%dT%H%M%S}"

    def get_json(self, path, since=0, limit=1):
        self.requests += 1
        if path == "/statistics":
            if "statistics" in self.failures:
                raise ArchiveFailure(Fault.ARCHIVE, "http_403")
            return {"CountInstances": self.length // 2}
        if path == "/changes?last":
            return {"Last": self.length}
        numbers = range(int(since) + 1, min(int(since) + limit, self.length) + 1)
        changes = [
            {
                "ChangeType": ["NewSeries", "NewInstance"][number % 2 == 0],
                "Date": f"{self.begin + timedelta(seconds=number) + self.ahead:%Y%m%dT%H%M%S}",
            }
            for number in numbers
        ]
        last = numbers[-1] if numbers else int(since)
        return {"Changes": changes, "Last": last, "Done": last == self.length}


def first_position(client, started, **settings):
    feed = OrthancChangeFeed(ARCHIVE.model_copy(update={"start": "now", **settings}), client, Rules())
    ((notices, position),) = feed.pages(f"since {started}")
    assert notices == []
    return int(position), feed.skipped["before_start"]


@pytest.mark.parametrize("ahead_s", [-7200, -3, 0, 3, 7200])
@pytest.mark.parametrize(("length", "moment"), [(5000, 4321), (5000, 4999), (1, 5), (10, 2)])
def test_with_start_now_the_feed_begins_when_the_worker_was_started_by_orthancs_clock(
    length, moment, ahead_s
):
    client = Feed(length, ahead_s=ahead_s)
    position, skipped = first_position(client, client.at(moment))
    assert moment - 4 <= position <= moment  # a few seconds before, never after
    assert position == min(position, length)
    assert skipped == position // 2
    assert client.requests < 30


def test_an_empty_archive_and_one_that_hides_its_clock_and_size_have_a_beginning_too():
    assert first_position(Feed(0), time.time()) == (0, 0)
    hidden = Feed(100, clock=True, statistics=True)
    assert first_position(hidden, hidden.at(50)) == (47, 0)


def test_the_start_is_remembered_until_the_archive_is_reached(context):
    watcher = FeedWatcher(
        ARCHIVE.model_copy(update={"start": "now"}), change_feed(), context, threading.Event()
    )
    watcher.remember_start(1000.0)
    watcher.remember_start(2000.0)  # started again before the archive was reached
    assert context.queue.position("a") == "since 1000.0"
    context.queue.add("a", (), position="7")
    watcher.remember_start(3000.0)
    assert context.queue.position("a") == "7"


def test_what_is_skipped_is_counted_and_named(context, caplog):
    caplog.set_level("INFO", "covid_monai")
    client = Feed(100)
    feed = OrthancChangeFeed(ARCHIVE.model_copy(update={"start": "now"}), client, Rules())
    context.queue.add("a", (), position=f"since {client.at(51)}")
    FeedWatcher(ARCHIVE, feed, context, threading.Event()).watch()
    (record,) = [record for record in caplog.records if record.msg == "images_skipped"]
    assert (record.reason, record.count) == ("before_start", 23)  # changes 2, 4... 46
    assert context.metrics.skipped.labels("a", "before_start")._value.get() == 23
    own = {"/instances/x/simplified-tags": {**TAGS, "ManufacturerModelName": "covid-monai results"}}
    FeedWatcher(ARCHIVE, change_feed(**own), context, threading.Event()).watch()
    gone = {"/instances/x/metadata?expand": ArchiveFailure(Fault.OBJECT, "http_404")}
    context.queue.add("a", (), position="0")
    FeedWatcher(ARCHIVE, change_feed(**gone), context, threading.Event()).watch()
    assert context.metrics.skipped.labels("a", "gone")._value.get() == 1


def test_a_change_feed_that_does_not_go_on_ends_and_is_named(context, caplog):
    stuck = {"Changes": [{"ChangeType": "NewInstance", "ID": "x"}], "Last": 7, "Done": False}
    context.queue.add("a", (), position="6")
    watcher = FeedWatcher(ARCHIVE, change_feed(**{"/changes": stuck}), context, threading.Event())
    for _ in range(3):
        watcher.watch()
    named = [record.reason for record in caplog.records if record.msg == "archive_defect"]
    assert named == ["changes_repeated"]  # once
    assert watcher.availability.is_up
