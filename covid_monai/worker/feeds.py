"""Feeds of new images (Orthanc's change feed, repeated searches), and the watcher that makes jobs of them."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from covid_monai.pacs.backoff import Availability
from covid_monai.pacs.client import ArchiveClient, classify_failures, first_value
from covid_monai.pacs.connection import InstanceAddress
from covid_monai.pacs.failures import ArchiveFailure, Fault
from covid_monai.worker.context import WorkerContext
from covid_monai.worker.queue import BEGINNING
from covid_monai.worker.rules import OWN_RESULT, Notice, Rules
from covid_monai.worker.settings import Archive

logger = logging.getLogger(__name__)

_PAGE = 100
_CHANGE_TYPES = {"new_instance": "NewInstance", "stable_series": "StableSeries"}
_MAX_TRIES = 3  # requests for one object's attributes before it is skipped
_TAGS = {
    "SOPClassUID": "00080016",
    "Modality": "00080060",
    "BodyPartExamined": "00180015",
    "ViewPosition": "00185101",
    "StationName": "00081010",
    "InstitutionName": "00080080",
    "ManufacturerModelName": "00081090",
}
_UID_TAGS = ("0020000D", "0020000E", "00080018")  # study, series, instance
_UID_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

Page = tuple[list[Notice], str | None]  # notices, and the position in the feed behind them


class OrthancChangeFeed:
    """Orthanc's change feed (`/changes`).

    Args:
        archive: Settings of the archive.
        client: Client of the archive.
        rules: Rules that select images.
    """

    repeats = False  # reports each object once

    def __init__(self, archive: Archive, client: ArchiveClient, rules: Rules) -> None:
        self._archive = archive
        self._client = client
        self._rules = rules
        self._change_type = _CHANGE_TYPES[archive.event]
        self._failures: dict[str, int] = {}

    def pages(self, position: str | None) -> Iterator[Page]:
        """Yield the notices since `position` in the order of the feed, page by page."""
        if position is None:
            yield [], self._first_position()
            return
        while True:
            answer = self._client.get_json("/changes", since=position, limit=_PAGE)
            last = int(answer["Last"])
            if last < int(position):  # Orthanc was set up again: its feed counts from 1
                logger.warning("change_feed_restarted", extra={"archive": self._archive.name})
                yield [], BEGINNING
                return
            changes = [change for change in answer["Changes"] if change["ChangeType"] == self._change_type]
            yield [notice for change in changes for notice in self._notices(change)], str(last)
            if answer["Done"]:
                return
            position = str(last)

    def _first_position(self) -> str:
        if self._archive.start == "beginning":
            return BEGINNING
        return str(self._client.get_json("/changes?last")["Last"])

    def _notices(self, change: dict[str, Any]) -> Iterator[Notice]:
        if self._change_type == "NewInstance":
            instances = [change["ID"]]
        else:
            series = self._get(f"/series/{change['ID']}")
            instances = series["Instances"] if series else []
        yield from filter(None, map(self._notice, instances))

    def _notice(self, instance: str) -> Notice | None:
        """Judge by Orthanc's index first: most objects of an archive need no further request."""
        index = self._get(f"/instances/{instance}/metadata?expand")
        if index is None:
            return None
        attributes = {"RemoteAET": index.get("RemoteAET", "")}
        if "SopClassUid" in index:
            attributes["SOPClassUID"] = index["SopClassUid"]
        refusal = self._rules.refusal(attributes)
        if refusal:
            main_tags = (self._get(f"/instances/{instance}") or {}).get("MainDicomTags", {})
            return Notice(InstanceAddress("", "", _text(main_tags.get("SOPInstanceUID"))), refusal)
        tags = self._get(f"/instances/{instance}/simplified-tags")
        if tags is None:
            return None
        attributes |= {keyword: _text(tags.get(keyword)) for keyword in _TAGS}
        address = InstanceAddress(*(_text(tags.get(keyword)) for keyword in _UID_KEYWORDS))
        return self._rules.judge(address, attributes)

    def _get(self, path: str) -> dict[str, Any] | None:
        """Return Orthanc's answer; None if the object is gone, or fails after several tries."""
        try:
            return self._client.get_json(path)
        except ArchiveFailure as failure:
            if failure.reason == "http_404":
                return None
            if failure.fault is Fault.ARCHIVE:
                raise
            self._failures[path] = self._failures.get(path, 0) + 1
            if self._failures[path] < _MAX_TRIES:
                raise
            del self._failures[path]
            logger.error("object_skipped", extra={"archive": self._archive.name, "reason": failure.reason})
            return None


class DicomWebSearch:
    """Repeated search (QIDO-RS) for the studies of the last days, for archives without a change feed.

    Args:
        archive: Settings of the archive.
        client: Client of the archive.
        rules: Rules that select images. Modalities without a pattern become part of the search.
        first_day: Function that returns the first Study Date of the search; by default `days` before today.
    """

    repeats = True  # reports the same objects again and again, so the queue must store refusals, too

    def __init__(
        self,
        archive: Archive,
        client: ArchiveClient,
        rules: Rules,
        *,
        first_day: Callable[[], date] | None = None,
    ) -> None:
        self._client = client
        self._rules = rules
        self._first_day = first_day or (lambda: _today() - timedelta(days=archive.days))

    def pages(self, _position: str | None) -> Iterator[Page]:
        """Yield all images of the last days at each call; the queue knows which ones it has seen."""
        filters = {"StudyDate": f"{self._first_day():%Y%m%d}-"}
        modalities = self._rules.modalities
        searches = [{**filters, "Modality": name} for name in modalities]
        if not modalities or any("*" in name or "?" in name for name in modalities):
            searches = [filters]
        for search in searches:
            yield from ((page, None) for page in self._search(search))

    def _search(self, filters: dict[str, str]) -> Iterator[list[Notice]]:
        offset, previous_first = 0, ""
        while True:
            items = self._client.search(filters, list(_TAGS), limit=_PAGE, offset=offset)
            first = first_value(items[0], _UID_TAGS[2]) if items else ""
            if not items or first == previous_first:  # an archive that ignores `offset` begins again
                return
            yield [self._notice(item) for item in items]
            offset, previous_first = offset + len(items), first

    def _notice(self, item: dict[str, Any]) -> Notice:
        # An attribute that the archive does not return is not judged here; the classifier reads it later.
        attributes = {keyword: first_value(item, tag) for keyword, tag in _TAGS.items() if tag in item}
        address = InstanceAddress(*(first_value(item, tag) for tag in _UID_TAGS))
        return self._rules.judge(address, attributes)


Feed = OrthancChangeFeed | DicomWebSearch


def _next_page(pages: Iterator[Page]) -> Page | None:
    with classify_failures():  # an answer of another shape than expected is the archive's matter, not ours
        return next(pages, None)


def _today() -> date:
    return datetime.now().astimezone().date()  # the machine's local date, as Study Date is a local date


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


class FeedWatcher:
    """Read the feed of one archive, and make jobs of the images that the rules select.

    Args:
        archive: Settings of the archive.
        feed: Source of news.
        context: Objects that all threads share.
        has_jobs: Event that is set when there are new jobs.
    """

    def __init__(
        self, archive: Archive, feed: Feed, context: WorkerContext, has_jobs: threading.Event
    ) -> None:
        self._archive = archive
        self._feed = feed
        self._context = context
        self._queue = context.queue
        self._has_jobs = has_jobs
        longest_wait_s = context.settings.limits.longest_wait_seconds
        self.availability = Availability(longest_wait_s=longest_wait_s, stop=context.stop)

    def watch(self) -> None:
        """Read the feed once, then wait; the wait is longer while the archive is unavailable."""
        name = self._archive.name
        try:
            pages = self._feed.pages(self._queue.position(name))
            while page := _next_page(pages):
                self._add_jobs(*page)
                if self._context.stop.is_set():
                    return
        except ArchiveFailure as failure:
            self._context.metrics.failures.labels(name, "watch", failure.fault).inc()
            if self.availability.record_failure(failure.reason):
                fields = {"archive": name, "stage": "watch", "reason": failure.reason}
                logger.warning("archive_unavailable", extra=fields)
            self.availability.wait()
            return
        if self.availability.record_success():
            logger.info("archive_available_again", extra={"archive": name, "stage": "watch"})
        self._context.stop.wait(self._archive.poll_seconds)

    def _add_jobs(self, notices: Sequence[Notice], position: str | None) -> None:
        """Audit the refusals first, then store jobs and position in one transaction: nothing is missed."""
        name = self._archive.name
        new = self._queue.select_unknown(name, notices)
        for notice in new:
            if notice.refusal and notice.refusal != OWN_RESULT:
                self._context.metrics.refused.labels(name, notice.refusal).inc()
                fields = {"archive": name, "by": "rules", "reason": notice.refusal}
                self._context.audit.write("refused", notice.address, **fields)
        jobs = [notice for notice in new if not notice.refusal]
        stored = new if self._feed.repeats else jobs
        if stored or position != self._queue.position(name):
            self._queue.add(name, stored, position=position)
        if jobs:
            logger.info("images_found", extra={"archive": name, "count": len(jobs)})
            self._has_jobs.set()
