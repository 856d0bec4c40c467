"""Feeds: what an archive may answer when the worker asks for new images; test_orthanc.py has a real one."""

import threading
from datetime import date
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from covid_monai.pacs.failures import ArchiveFailure, Fault
from covid_monai.worker import feeds
from covid_monai.worker.audit import AuditTrail
from covid_monai.worker.feeds import DicomWebSearch, FeedWatcher, OrthancChangeFeed
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

    def search(self, filters, _fields, *, limit, offset):
        self.filters = filters
        items = [{"00080018": {"vr": "UI", "Value": [f"1.4.{number}"]}} for number in range(150)]
        return items[offset : offset + limit]


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


def test_a_search_reads_all_pages_of_each_modality(monkeypatch):
    monkeypatch.setattr(feeds, "_today", lambda: date(2020, 2, 3))
    client = ShamClient({})
    archive = Archive(name="a", source="dicomweb", url="http://127.0.0.1:9", days=2)
    search = DicomWebSearch(archive, client, Rules(modalities=["DX"]))
    pages = [notices for notices, _ in search.pages(None)]
    assert [len(notices) for notices in pages] == [100, 50]
    assert client.filters == {"StudyDate": "20200201-", "Modality": "DX"}
