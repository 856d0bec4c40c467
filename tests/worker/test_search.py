"""Search (QIDO-RS) in archives that answer as the standard asks, and in those that ignore parts of a query.

The archives are HTTP servers, and the worker's own client asks them.
"""

from datetime import datetime, timedelta

import pytest
from pacs_helpers import SearchServer, found_image

from covid_monai.pacs.client import ArchiveClient
from covid_monai.pacs.failures import ArchiveFailure
from covid_monai.worker import search
from covid_monai.worker.feeds import next_page
from covid_monai.worker.rules import Rules
from covid_monai.worker.search import ARCHIVE_DEFECTS, DicomWebSearch, search_begin
from covid_monai.worker.settings import Archive


@pytest.fixture
def ask():
    """Search an archive of images with habits; return the search, the UIDs in order, and the server."""
    servers = []

    def run(images, rules=None, **habits):
        servers.append(SearchServer(images, **habits))
        archive = Archive(name="a", source="dicomweb", url=servers[-1].url, full_search_seconds=2)
        client = ArchiveClient(archive, max_object_bytes=1000)
        feed = DicomWebSearch(archive, client, Rules(**(rules or {"modalities": ["CR"]})))
        return feed, found_by(feed), servers[-1]

    yield run
    for server in servers:
        server.shutdown()
        server.server_close()


def found_by(feed):
    pages = feed.pages(None)
    found = []
    while page := next_page(pages):
        found += [notice.address.sop_instance_uid for notice in page[0] if not notice.refusal]
        found += [f"{notice.count} {notice.refusal}" for notice in page[0] if notice.count]
    return found


def uids(numbers):
    return [f"1.3.{number}" for number in numbers]


@pytest.mark.parametrize("count", [0, 1, 2, 99, 100, 101, 250])
@pytest.mark.parametrize(
    "habits",
    [
        {},
        {"nothing": 204},
        {"nothing": 404, "kind": "text/plain"},
        {"cap": 7},  # shorter pages than asked for are no end
        {"kind": "application/json"},
        {"kind": "text/html"},
    ],
)
def test_each_image_is_found_once_and_a_good_archive_is_not_accused(ask, count, habits):
    if not count and habits.get("nothing") == 404:
        pytest.skip("an empty archive that answers 404 is like a wrong address")
    feed, found, server = ask(map(found_image, range(count)), **habits)
    assert found == uids(range(count))
    assert not feed.defects
    assert len(server.queries) < 12 + count // 5


@pytest.mark.parametrize("count", [1, 3, 99, 100, 101, 250])
def test_an_archive_that_ignores_offset_is_named_and_paging_ends(ask, count):
    feed, found, server = ask(map(found_image, range(count)), ignores_offset=True)
    assert found == uids(range(count))  # with a larger page where one page does not do
    assert feed.defects == {"offset_ignored"}
    assert len(server.queries) <= 10


def test_an_archive_that_ignores_offset_and_caps_the_page_is_named_and_paging_ends(ask):
    feed, found, server = ask(map(found_image, range(250)), ignores_offset=True, cap=100)
    assert found == uids(range(100))
    assert feed.defects == {"offset_ignored"}
    assert len(server.queries) <= 10


@pytest.mark.parametrize("count", [2, 101, 250])
@pytest.mark.parametrize("more", [{}, {"ignores_offset": True}])
def test_an_archive_that_ignores_limit_is_named(ask, count, more):
    feed, found, server = ask(map(found_image, range(count)), ignores_limit=True, **more)
    assert found == uids(range(count))
    assert "limit_ignored" in feed.defects
    assert len(server.queries) <= 10


@pytest.mark.parametrize("tells", [True, False])
def test_an_archive_that_ignores_the_study_date_is_named_and_old_studies_are_left_out(ask, tells):
    old = [found_image(number, StudyDate="20190101" if tells else None) for number in range(5)]
    feed, found, _ = ask([*old, *map(found_image, range(5, 8))], ignores_date=True)
    assert feed.defects == {"study_date_ignored"}
    assert found == uids(range(5, 8) if tells else range(8))  # without a date nobody can tell
    feed._next_full_search = 1e-9
    refused = [notice.refusal for page, _ in feed.pages(None) for notice in page if notice.refusal]
    assert refused == ["older_than_days"] * (5 if tells else 0)  # each is counted


def test_older_studies_are_counted_once_as_far_as_one_answer_tells(ask):
    feed, found, server = ask([found_image(number, StudyDate="20190101") for number in range(7)], cap=5)
    assert found == ["5 older_than_days"]
    assert server.older == [f"-{search_begin(feed.archive) - timedelta(days=1):%Y%m%d}"]
    found_by(feed)
    assert len(server.older) == 1


def test_an_archive_that_ignores_the_modality_is_named_and_others_are_left_out(ask):
    feed, found, _ = ask(
        [found_image(1), found_image(2, Modality="CT"), found_image(3, Modality=None)], ignores_modality=True
    )
    assert feed.defects == {"modality_ignored"}
    assert found == uids((1, 3))


def test_modalities_are_searched_one_by_one_and_a_pattern_all_together(ask):
    images = [found_image(1), found_image(2, Modality="DX"), found_image(3, Modality="CT")]
    assert ask(images, {"modalities": ["DX", "CR"]})[1] == uids((2, 1))
    feed, _, server = ask(images, {"modalities": ["D*"]})
    assert "Modality" not in server.queries[-1]
    assert not feed.defects


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_an_archive_that_leaves_uids_out_is_named(ask, missing):
    feed, _, server = ask([found_image(number, **{missing: None}) for number in range(250)])
    assert "uids_missing" in feed.defects
    assert len(server.queries) <= 10


def test_an_endless_search_ends_and_is_named(ask, monkeypatch):
    monkeypatch.setattr(search, "_LARGEST_SEARCH", 1000)
    feed, found, _ = ask([], endless=True)
    assert len(found) == 1000
    assert "no_end" in feed.defects


def test_pages_that_shift_while_they_are_read_lose_nothing(ask):
    """A new image before the others moves one of them to the next page."""

    class Shifting(list):
        def __getitem__(self, where):
            self.insert(0, found_image(1000 + len(self)))
            return list(self)[where]

    feed, found, _ = ask([])
    feed.client.search = lambda _filters, _fields, *, limit, offset: shifting[offset : offset + limit][:limit]
    shifting = Shifting(map(found_image, range(250)))
    feed._next_full_search = 0.001
    found = found_by(feed)
    assert set(uids(range(250))) <= set(found)
    assert len(found) == len(set(found))
    assert not feed.defects


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Log in</html>",
        b'<?xml version="1.0"?><NativeDicomModel/>',
        b"[1, 2]",
        b'["a"]',
        b"\xff",
        b"[[]]",
    ],
)
def test_an_answer_that_is_not_dicom_json_is_a_failure_and_not_an_empty_archive(ask, body):
    with pytest.raises(ArchiveFailure, match="unexpected_answer"):
        ask([], body=body)


def test_a_wrong_address_is_a_failure_and_not_an_empty_archive(ask):
    with pytest.raises(ArchiveFailure, match="http_404"):
        ask([], nothing=404)


def test_between_full_searches_only_recent_studies_are_searched(ask):
    old = f"{datetime.now().astimezone() - timedelta(days=2):%Y%m%d}"
    feed, found, server = ask([found_image(1), found_image(2, StudyDate=old)])
    assert found == uids((1, 2))
    first = server.queries[-1]["StudyDate"]
    assert first == f"{search_begin(feed.archive):%Y%m%d}-"
    server.queries.clear()
    assert found_by(feed) == uids((1,))
    assert server.queries[0]["StudyDate"] > first
    feed._next_full_search -= 2  # as after full_search_seconds
    assert found_by(feed) == uids((1, 2))


def test_each_defect_is_explained():
    assert all(text[0].islower() and not text.endswith(".") for text in ARCHIVE_DEFECTS.values())
