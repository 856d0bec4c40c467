"""Change feed: what Orthanc may answer when it is asked for new images; test_orthanc.py has a real one."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from pacs_helpers import SearchServer, found_image
from prometheus_client import CollectorRegistry

from covid_monai.dicom.own_results import own_instance_uid
from covid_monai.pacs.client import ArchiveClient
from covid_monai.pacs.failures import ArchiveFailure, Availability, Fault
from covid_monai.worker.audit import AuditTrail
from covid_monai.worker.feeds import FeedWatcher, OrthancChangeFeed
from covid_monai.worker.monitoring import Metrics
from covid_monai.worker.queue import JobQueue
from covid_monai.worker.rules import Rules
from covid_monai.worker.search import UIDS, DicomWebSearch
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
        folder=tmp_path,
        settings=SimpleNamespace(limits=Limits(longest_wait_seconds=0.1)),
        queue=JobQueue(tmp_path),
        audit=AuditTrail(tmp_path / "audit.jsonl", "plain", tmp_path),
        metrics=Metrics(CollectorRegistry()),
        stop=threading.Event(),
    )
    yield found
    found.queue.close()


def watcher_of(feed, context, archive=ARCHIVE, *, has_jobs=None):
    availability = Availability(longest_wait_s=0.1, stop=context.stop)
    return FeedWatcher(archive, feed, context, has_jobs or threading.Event(), availability)


def test_a_change_becomes_a_job_and_the_position_moves(context):
    has_jobs = threading.Event()
    watcher = watcher_of(change_feed(), context, has_jobs=has_jobs)
    watcher.watch()  # finds the beginning of the feed
    watcher.watch()
    assert context.queue.position("a") == "7"
    assert has_jobs.is_set()
    assert [job.address.sop_instance_uid for job in context.queue.claim("a", 5)] == ["1.4"]


@pytest.mark.parametrize("answer", [{}, [], {"Last": "seven"}, {"Last": 7, "Changes": [{}]}])
def test_a_change_feed_of_another_shape_is_the_archives_failure_and_not_the_end(context, answer):
    context.queue.add("a", (), position="5")
    watcher = watcher_of(change_feed(**{"/changes": answer}), context)
    watcher.watch()
    assert watcher.availability.failure_reason == "unexpected_answer"
    assert context.queue.position("a") == "5"


def two_objects(**answers):
    """A feed of the objects x and y; y can be read."""
    changes = [{"ChangeType": "NewInstance", "ID": name} for name in "xy"]
    others = {
        "/changes": {"Changes": changes, "Last": 7, "Done": True},
        "/instances/y/metadata?expand": {},
        "/instances/y/simplified-tags": {**TAGS, "SOPInstanceUID": "1.5"},
    }
    return change_feed(**others, **answers)


def passes(feed, count):
    """Notices of the passes that come to an end; None for those that fail."""
    for _ in range(count):
        try:
            notices = [notice for page, _ in feed.pages("5") for notice in page]
            yield [notice.address.sop_instance_uid or notice.refusal for notice in notices]
        except ArchiveFailure:
            yield None


@pytest.mark.parametrize("status", ["http_500", "http_400"])
def test_an_object_whose_index_cannot_be_read_is_skipped_after_three_failures_beside_a_success(status):
    failure = {"/instances/x/metadata?expand": ArchiveFailure(Fault.UNCLEAR, status)}
    feed = two_objects(**failure)
    assert list(passes(feed, 3)) == [None, None, ["attributes_unreadable", "1.5"]]


def test_an_archive_that_can_read_no_object_skips_none():
    feed = change_feed(**{"/instances/x/metadata?expand": ArchiveFailure(Fault.UNCLEAR, "http_500")})
    assert list(passes(feed, 10)) == [None] * 10


@pytest.mark.parametrize("status", ["http_404", "http_500"])
def test_an_object_without_its_file_is_judged_by_the_index(status):
    """As Orthanc answers while its storage is not mounted: fetching will tell whether the file is lost."""
    tags = {
        "/instances/x/simplified-tags": ArchiveFailure(Fault.UNCLEAR, status),
        "/instances/x/series": {"MainDicomTags": {"SeriesInstanceUID": "1.3", "Modality": "CR"}},
        "/instances/x/study": {"MainDicomTags": {"StudyInstanceUID": "1.2", "PatientName": "No^One"}},
    }
    ((notices, _),) = change_feed(**tags).pages("5")
    assert [(notice.address.path, notice.refusal) for notice in notices] == [
        ("/studies/1.2/series/1.3/instances/1.4", None)
    ]
    tags["/instances/x/series"]["MainDicomTags"]["Modality"] = "CT"
    assert next(change_feed(**tags).pages("5"))[0][0].refusal == "modalities"
    tags["/instances/x/study"] = ArchiveFailure(Fault.UNCLEAR, "http_404")
    assert list(passes(change_feed(**tags), 1)) == [["gone"]]


def test_an_object_that_is_gone_is_skipped_at_once():
    feed = change_feed(**{"/instances/x/metadata?expand": ArchiveFailure(Fault.OBJECT, "http_404")})
    assert list(passes(feed, 1)) == [["gone"]]


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
    assert {notice.refusal for notice in notices} <= {"before_start"}
    return int(position), sum(notice.count for notice in notices)


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
    watcher = watcher_of(change_feed(), context, ARCHIVE.model_copy(update={"start": "now"}))
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
    watcher_of(feed, context).watch()
    (record,) = [record for record in caplog.records if record.msg == "images_skipped"]
    assert (record.reason, record.count) == ("before_start", 23)  # changes 2, 4... 46
    assert context.metrics.skipped.labels("a", "before_start")._value.get() == 23
    assert audit_lines(context) == [{"event": "skipped", "reason": "before_start", "count": 23}]


def audit_lines(context, *keys):
    """The audit trail, of which each line must have its time and archive."""
    lines = [json.loads(line) for line in (context.folder / "audit.jsonl").read_text().splitlines()]
    assert all(line.pop("time") and line.pop("archive") == "a" for line in lines)
    return [{key: line.get(key) for key in keys} if keys else line for line in lines]


ORTHANC_ID = "6816cb19-844d5aee-85245eba-28e841e6-2414fae2"
GONE = ArchiveFailure(Fault.UNCLEAR, "http_404")
OWN = {"SeriesInstanceUID": "1.3", "SOPInstanceUID": own_instance_uid("1.3")}
SR, SC = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.7"
HOSTILE = {"StationName": "A\n{}", "BodyPartExamined": "CHEST\r\n", "PatientName": "Doe^Jane"}


def _tags(**values):
    return {"/instances/x/simplified-tags": TAGS | values}


@pytest.mark.parametrize(
    ("answers", "event", "reason"),
    [
        (_tags(**OWN), "skipped", "own_result"),
        (_tags(**OWN, SOPClassUID=SC, Modality="OT"), "skipped", "own_result"),
        (_tags(Modality="CT"), "refused", "modalities"),
        (_tags(Modality=""), "refused", "modalities"),
        (_tags(Modality=None), "refused", "modalities"),
        (_tags(SOPClassUID="1.2.3.4"), "refused", "sop_classes"),
        (_tags(SOPClassUID=""), "refused", "sop_classes"),
        (_tags(ManufacturerModelName="covid-monai results", SOPClassUID=SC), "refused", "sop_classes"),
        (_tags(BodyPartExamined="KNEE"), "refused", "body_parts"),
        (_tags(ViewPosition="LL\n"), "refused", "views"),
        (_tags(**HOSTILE, ViewPosition="LL"), "refused", "views"),
        *(
            (_tags(**{name: text}), "refused", "malformed_uid")
            for name in UIDS
            for text in ("", "../1", "1\n2")
        ),
        ({"/instances/x/metadata?expand": {"SopClassUid": SR}}, "refused", "sop_classes"),
        ({"/instances/x/metadata?expand": {"SopClassUid": SR}, "/instances/x": {}}, "refused", "sop_classes"),
        ({"/instances/x/metadata?expand": {"SopClassUid": SR}, "/instances/x": GONE}, "skipped", "gone"),
        ({"/instances/x/metadata?expand": GONE}, "skipped", "gone"),
        ({"/instances/x/simplified-tags": GONE, "/instances/x/series": GONE}, "skipped", "gone"),
    ],
)
def test_each_object_without_an_answer_has_one_audit_line_with_the_reason(context, answers, event, reason):
    context.queue.add("a", (), position="0")
    watcher_of(change_feed(**answers), context).watch()
    (line,) = audit_lines(context)
    assert (line["event"], line["reason"]) == (event, reason)
    assert not context.queue.claim("a", 5)
    assert not set(line) - {"event", "reason", "by", "instance", "study"}
    assert "Jane" not in str(line)


def test_an_image_that_claims_to_be_our_result_is_processed(context):
    context.queue.add("a", (), position="0")
    watcher_of(change_feed(**_tags(ManufacturerModelName="covid-monai results")), context).watch()
    assert [job.address.sop_instance_uid for job in context.queue.claim("a", 5)] == ["1.4"]
    assert audit_lines(context) == []


def test_an_object_without_uids_is_named_by_orthancs_id(context):
    changes = {"Changes": [{"ChangeType": "NewInstance", "ID": ORTHANC_ID}], "Last": 7, "Done": True}
    context.queue.add("a", (), position="0")
    path = f"/instances/{ORTHANC_ID}/metadata?expand"
    watcher_of(change_feed(**{"/changes": changes, path: GONE}), context).watch()
    assert audit_lines(context) == [{"event": "skipped", "reason": "gone", "orthanc_id": ORTHANC_ID}]


def test_a_series_that_is_gone_has_a_line_too(context):
    changes = {"Changes": [{"ChangeType": "StableSeries", "ID": ORTHANC_ID}], "Last": 7, "Done": True}
    context.queue.add("a", (), position="0")
    feed = change_feed(**{"/changes": changes, f"/series/{ORTHANC_ID}": GONE})
    feed.archive = ARCHIVE.model_copy(update={"event": "stable_series"})
    watcher_of(feed, context).watch()
    assert audit_lines(context, "event", "orthanc_id") == [{"event": "skipped", "orthanc_id": ORTHANC_ID}]


def test_an_object_that_was_stored_again_has_one_line_however_often_it_is_reported(context):
    watcher = watcher_of(change_feed(), context)
    for _ in range(5):
        context.queue.add("a", (), position="0")
        watcher.watch()
    assert audit_lines(context, "reason", "instance") == [{"reason": "known", "instance": "1.4"}]


def test_of_two_objects_with_one_uid_the_second_is_not_silent(context):
    context.queue.add("a", (), position="0")
    twin = {"/instances/y/simplified-tags": {**TAGS, "StudyInstanceUID": "1.9"}}
    feed = two_objects()
    feed.client.answers |= twin
    watcher_of(feed, context).watch()
    assert [job.address.study_instance_uid for job in context.queue.claim("a", 5)] == ["1.2"]
    assert audit_lines(context, "reason", "study") == [{"reason": "known", "study": "1.9"}]


def test_what_a_search_finds_again_and_again_has_one_line(context):
    items = [found_image(1, Modality="CT"), found_image(2, SOPInstanceUID=None), found_image(3)]
    server = SearchServer(items, ignores_modality=True)
    archive = Archive(name="a", source="dicomweb", url=server.url, poll_seconds=0.1, full_search_seconds=0.1)
    client = ArchiveClient(archive, max_object_bytes=1000)
    watcher = watcher_of(DicomWebSearch(archive, client, Rules(modalities=["CR"])), context, archive)
    watcher.remember_start(0.0)
    for _ in range(4):
        watcher.watch()
    server.shutdown()
    server.server_close()
    lines = audit_lines(context, "event", "reason", "instance")
    assert lines[0]["event"] == "images_selected"  # what the search does not ask for
    assert sorted((line["event"], line["reason"], line["instance"] or "") for line in lines[1:]) == [
        ("archive_defect", "modality_ignored", ""),
        ("archive_defect", "uids_missing", ""),
        ("refused", "malformed_uid", ""),
        ("refused", "modalities", "1.3.1"),
    ]


def test_the_line_is_on_disk_before_the_position_moves(context, monkeypatch):
    context.queue.add("a", (), position="0")
    watcher = watcher_of(change_feed(**{"/instances/x/metadata?expand": GONE}), context)
    monkeypatch.setattr(context.audit, "write", Mock(side_effect=OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        watcher.watch()
    assert context.queue.position("a") == "0"
    monkeypatch.undo()
    watcher.watch()
    assert audit_lines(context, "reason") == [{"reason": "gone"}]


def test_a_change_feed_that_does_not_go_on_ends_and_is_named(context, caplog):
    stuck = {"Changes": [{"ChangeType": "NewInstance", "ID": "x"}], "Last": 7, "Done": False}
    context.queue.add("a", (), position="6")
    watcher = watcher_of(change_feed(**{"/changes": stuck}), context)
    for _ in range(3):
        watcher.watch()
    named = [record.reason for record in caplog.records if record.msg == "archive_defect"]
    assert named == ["changes_repeated"]  # once
    assert watcher.availability.failure_reason is None
