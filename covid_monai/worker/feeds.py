"""Feeds of new images (Orthanc's change feed, repeated searches), and the watcher that makes jobs of them."""

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from covid_monai.pacs.client import ArchiveClient, classify_failures, first_value, tag_of
from covid_monai.pacs.connection import InstanceAddress
from covid_monai.pacs.failures import ArchiveFailure, Availability, Fault
from covid_monai.worker.context import WorkerContext
from covid_monai.worker.queue import BEGINNING
from covid_monai.worker.rules import OWN_RESULT, RULE_OF_ATTRIBUTE, Notice, Rules
from covid_monai.worker.settings import Archive

logger = logging.getLogger(__name__)

_PAGE = 100
_CHANGE_TYPES = {"new_instance": "NewInstance", "stable_series": "StableSeries"}
_MAX_TRIES = 3  # requests for one object's attributes before it is skipped
_KEYWORDS = ["ManufacturerModelName", *(name for name in RULE_OF_ATTRIBUTE if name != "RemoteAET")]
_UID_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

Page = tuple[list[Notice], str | None]  # notices, and the position in the feed behind them


@dataclass
class OrthancChangeFeed:
    """Orthanc's change feed (`/changes`), which reports each object once."""

    archive: Archive
    client: ArchiveClient
    rules: Rules
    failures: dict[str, int] = field(default_factory=dict)  # by path
    repeats = False

    def pages(self, position: str | None) -> Iterator[Page]:
        """Yield the notices since `position` in the order of the feed, page by page."""
        if position is None:
            yield [], self._first_position()
            return
        while True:
            answer = self.client.get_json("/changes", since=position, limit=_PAGE)
            last = int(answer["Last"])
            if last < int(position):  # Orthanc was set up again: its feed counts from 1
                logger.warning("change_feed_restarted", extra={"archive": self.archive.name})
                yield [], BEGINNING
                return
            kind = _CHANGE_TYPES[self.archive.event]
            changes = [change for change in answer["Changes"] if change["ChangeType"] == kind]
            yield [notice for change in changes for notice in self._notices(change)], str(last)
            if answer["Done"]:
                return
            position = str(last)

    def _first_position(self) -> str:
        if self.archive.start == "beginning":
            return BEGINNING
        return str(self.client.get_json("/changes?last")["Last"])

    def _notices(self, change: dict[str, Any]) -> Iterator[Notice]:
        if self.archive.event == "new_instance":
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
        refusal = self.rules.refusal(attributes)
        if refusal:
            main_tags = (self._get(f"/instances/{instance}") or {}).get("MainDicomTags", {})
            return Notice(InstanceAddress("", "", _text(main_tags.get("SOPInstanceUID"))), refusal)
        tags = self._get(f"/instances/{instance}/simplified-tags")
        if tags is None:
            return None
        attributes |= {keyword: _text(tags.get(keyword)) for keyword in _KEYWORDS}
        address = InstanceAddress(*(_text(tags.get(keyword)) for keyword in _UID_KEYWORDS))
        return self.rules.judge(address, attributes)

    def _get(self, path: str) -> dict[str, Any] | None:
        """Return Orthanc's answer; None if the object is gone, or fails after several tries."""
        try:
            return self.client.get_json(path)
        except ArchiveFailure as failure:
            if failure.reason == "http_404":
                return None
            if failure.fault is Fault.ARCHIVE:
                raise
            self.failures[path] = self.failures.get(path, 0) + 1
            if self.failures[path] < _MAX_TRIES:
                raise
            del self.failures[path]
            logger.error("object_skipped", extra={"archive": self.archive.name, "reason": failure.reason})
            return None


@dataclass
class DicomWebSearch:
    """Repeated search (QIDO-RS) for the studies of the last days, for archives without a change feed.

    Modalities without a pattern become part of the search. It reports the same objects again and again, so
    the queue must store refusals, too.
    """

    archive: Archive
    client: ArchiveClient
    rules: Rules
    repeats = True

    def pages(self, _position: str | None) -> Iterator[Page]:
        """Yield all images of the last days at each call; the queue knows which ones it has seen."""
        first_day = _today() - timedelta(days=self.archive.days)
        filters = {"StudyDate": f"{first_day:%Y%m%d}-"}
        modalities = self.rules.modalities
        searches = [{**filters, "Modality": name} for name in modalities]
        if not modalities or any("*" in name or "?" in name for name in modalities):
            searches = [filters]
        for search in searches:
            yield from ((page, None) for page in self._search(search))

    def _search(self, filters: dict[str, str]) -> Iterator[list[Notice]]:
        offset, previous_first = 0, ""
        while True:
            items = self.client.search(filters, _KEYWORDS, limit=_PAGE, offset=offset)
            first = first_value(items[0], "SOPInstanceUID") if items else ""
            if not items or first == previous_first:  # an archive that ignores `offset` begins again
                return
            yield [self._notice(item) for item in items]
            offset, previous_first = offset + len(items), first

    def _notice(self, item: dict[str, Any]) -> Notice:
        # An attribute that the archive does not return is not judged here; the classifier reads it later.
        attributes = {name: first_value(item, name) for name in _KEYWORDS if tag_of(name) in item}
        address = InstanceAddress(*(first_value(item, name) for name in _UID_KEYWORDS))
        return self.rules.judge(address, attributes)


Feed = OrthancChangeFeed | DicomWebSearch


def next_page(pages: Iterator[Page]) -> Page | None:
    """Return the next page of a feed, None after the last one."""
    with classify_failures():  # an answer of another shape than expected is the archive's matter, not ours
        return next(pages, None)


def _today() -> date:
    return datetime.now().astimezone().date()  # the machine's local date, as Study Date is a local date


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


@dataclass
class FeedWatcher:
    """Read the feed of one archive, and make jobs of the images that the rules select."""

    archive: Archive
    feed: Feed
    context: WorkerContext
    has_jobs: threading.Event  # set when there are new jobs

    def __post_init__(self) -> None:
        longest_wait_s = self.context.settings.limits.longest_wait_seconds
        self.availability = Availability(longest_wait_s=longest_wait_s, stop=self.context.stop)

    def watch(self) -> None:
        """Read the feed once, then wait; the wait is longer while the archive is unavailable."""
        name = self.archive.name
        try:
            pages = self.feed.pages(self.context.queue.position(name))
            while page := next_page(pages):
                self._add_jobs(*page)
                if self.context.stop.is_set():
                    return
        except ArchiveFailure as failure:
            self.context.metrics.failures.labels(name, "watch", failure.fault).inc()
            if self.availability.record_failure(failure.reason):
                fields = {"archive": name, "stage": "watch", "reason": failure.reason}
                logger.warning("archive_unavailable", extra=fields)
            self.availability.wait()
            return
        if self.availability.record_success():
            logger.info("archive_available_again", extra={"archive": name, "stage": "watch"})
        self.context.stop.wait(self.archive.poll_seconds)

    def _add_jobs(self, notices: Sequence[Notice], position: str | None) -> None:
        """Audit the refusals first, then store jobs and position in one transaction: nothing is missed."""
        name = self.archive.name
        new = self.context.queue.select_unknown(name, notices)
        for notice in new:
            if notice.refusal and notice.refusal != OWN_RESULT:
                self.context.metrics.refused.labels(name, notice.refusal).inc()
                fields = {"archive": name, "by": "rules", "reason": notice.refusal}
                self.context.audit.write("refused", notice.address, **fields)
        jobs = [notice for notice in new if not notice.refusal]
        stored = new if self.feed.repeats else jobs
        if stored or position != self.context.queue.position(name):
            self.context.queue.add(name, stored, position=position)
        if jobs:
            logger.info("images_found", extra={"archive": name, "count": len(jobs)})
            self.has_jobs.set()
