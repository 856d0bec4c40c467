"""Orthanc's change feed, and the watcher that makes jobs of what it or a search reports."""

import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from covid_monai.pacs.client import ArchiveClient, classify_failures
from covid_monai.pacs.connection import UNKNOWN_ADDRESS, InstanceAddress
from covid_monai.pacs.failures import ArchiveFailure, Availability, Fault
from covid_monai.worker.context import WorkerContext
from covid_monai.worker.queue import BEGINNING
from covid_monai.worker.rules import (
    ATTRIBUTES_UNREADABLE,
    BEFORE_START,
    GONE,
    KNOWN,
    SKIPPED,
    Notice,
    Page,
    Rules,
)
from covid_monai.worker.search import ATTRIBUTES, PAGE, UIDS, DicomWebSearch
from covid_monai.worker.settings import Archive

logger = logging.getLogger(__name__)

_CHANGE_TYPES = {"new_instance": "NewInstance", "stable_series": "StableSeries"}
_MAX_TRIES = 3  # failures to read one object, while others succeed, before it is skipped
_SINCE = "since "  # a position before the first contact: this, and the time when the worker first started
_CLOCK_MARGIN_S = 2  # Orthanc tells whole seconds, and Python takes a moment to start
_CLOCK = "%Y%m%dT%H%M%S"  # of Orthanc, in UTC
_MOST_REMEMBERED = 100_000  # UIDs of objects that the archive has reported again


class _Skipped(Exception):
    """An object is passed over; the text is the reason."""


@dataclass
class OrthancChangeFeed:
    """Orthanc's change feed (`/changes`), which reports each object once."""

    archive: Archive
    client: ArchiveClient
    rules: Rules
    failures: dict[str, list[int]] = field(default_factory=dict)  # by path: tries, and successes at the last
    successes: int = 0  # objects that were read
    defects: set[str] = field(default_factory=set)  # keys of `ARCHIVE_DEFECTS` that the answers have shown
    repeats = False

    def pages(self, position: str | None) -> Iterator[Page]:
        """Yield the notices since `position` in the order of the feed, page by page."""
        if position is None or position.startswith(_SINCE):
            first = self._first_position(position)
            before = self._count_before(first)
            yield [Notice(UNKNOWN_ADDRESS, BEFORE_START, count=before)] if before else [], first
            return
        kind = _CHANGE_TYPES[self.archive.event]
        for changes, last in self._changes(position):
            if last < int(position):  # Orthanc was set up again: its feed counts from 1
                logger.warning("change_feed_restarted", extra={"archive": self.archive.name})
                yield [], BEGINNING
                return
            news = [change for change in changes if change["ChangeType"] == kind]
            yield list(self._notices_of(news)), str(last)

    def _changes(self, position: str) -> Iterator[tuple[list[dict[str, Any]], int]]:
        """Yield the changes since `position`, page by page, with the number of the last one."""
        while True:
            answer = self.client.get_json("/changes", since=position, limit=PAGE)
            last = int(answer["Last"])
            yield answer["Changes"], last
            if answer["Done"]:
                return
            if last <= int(position):
                self.defects.add("changes_repeated")
                return
            position = str(last)

    def _first_position(self, position: str | None) -> str:
        """Return where the feed begins for us; with `start: now`, when the worker was first started."""
        if self.archive.start == "beginning":
            return BEGINNING
        started = float(position.removeprefix(_SINCE)) if position else time.time()
        moment = datetime.fromtimestamp(started + self._clock_difference() - _CLOCK_MARGIN_S, UTC)
        last = int(self.client.get_json("/changes?last")["Last"])
        return str(bisect_left(range(last), f"{moment:{_CLOCK}}", key=self._date_after))

    def _clock_difference(self) -> float:
        """Return by how many seconds Orthanc's clock is ahead of ours; 0 if it does not tell."""
        with suppress(ArchiveFailure, ValueError):
            now = datetime.strptime(self.client.get_text("/tools/now")[:15], _CLOCK).replace(tzinfo=UTC)
            return now.timestamp() - time.time()
        return 0.0

    def _date_after(self, position: int) -> str:
        """Return the date of the first change after a position; dates rise along the feed."""
        changes = self.client.get_json("/changes", since=position, limit=1)["Changes"]
        return str(changes[0]["Date"]) if changes else "9"

    def _count_before(self, position: str) -> int:
        """Return how many objects Orthanc held when the feed was at a position; 0 if it does not tell."""
        if position == BEGINNING:
            return 0
        with suppress(ArchiveFailure):
            count = int(self.client.get_json("/statistics")["CountInstances"])
            changes = (change for page, _ in self._changes(position) for change in page)
            return max(0, count - len([1 for change in changes if change["ChangeType"] == "NewInstance"]))
        return 0

    def _notices_of(self, changes: Sequence[dict[str, Any]]) -> Iterator[Notice]:
        """Yield the notices of a page; a failure is raised at its end: the other objects may succeed."""
        last_failure = None
        for change in changes:
            try:
                instances = [change["ID"]]
                if self.archive.event == "stable_series":
                    instances = self._get(f"/series/{change['ID']}")["Instances"]
                yield from map(self._notice, instances)
            except _Skipped as reason:
                yield Notice(UNKNOWN_ADDRESS, str(reason), orthanc_id=str(change["ID"]))
            except ArchiveFailure as failure:
                if failure.fault is Fault.ARCHIVE:
                    raise
                last_failure = failure
        if last_failure:
            raise last_failure

    def _notice(self, instance: str) -> Notice:
        try:
            notice = self._judge(instance)
        except _Skipped as reason:
            return Notice(UNKNOWN_ADDRESS, str(reason), orthanc_id=str(instance))
        self.successes += 1
        return notice

    def _judge(self, instance: str) -> Notice:
        """Judge by Orthanc's index first: most objects of an archive need no further request."""
        index = self._get(f"/instances/{instance}/metadata?expand")
        attributes = {"RemoteAET": index.get("RemoteAET", "")}
        if "SopClassUid" in index:
            attributes["SOPClassUID"] = index["SopClassUid"]
        refusal = self.rules.refusal(attributes)
        if refusal:
            main_tags = self._get(f"/instances/{instance}").get("MainDicomTags", {})
            return Notice(InstanceAddress("", "", _text(main_tags.get("SOPInstanceUID"))), refusal)
        tags = self._tags(instance)
        address = InstanceAddress(*(tags.pop(keyword, "") for keyword in UIDS))
        return self.rules.judge(address, attributes | tags)

    def _tags(self, instance: str) -> dict[str, str]:
        """Return the values of an object; without its file only those of Orthanc's index.

        A storage that is not mounted must cost no image: fetching it will tell whether its file is lost.
        """
        names, path = (*ATTRIBUTES, *UIDS), f"/instances/{instance}"
        try:
            found = self.client.get_json(f"{path}/simplified-tags")
            return {name: _text(found.get(name)) for name in names}
        except ArchiveFailure as failure:
            if failure.fault is Fault.ARCHIVE:
                raise
        levels = [self._get(path + level) for level in ("", "/series", "/study")]
        found = {name: value for level in levels for name, value in level["MainDicomTags"].items()}
        return {name: _text(found[name]) for name in names if name in found}

    def _get(self, path: str) -> dict[str, Any]:
        """Return Orthanc's answer; `_Skipped` if the object is gone, or fails while others succeed."""
        try:
            return self.client.get_json(path)
        except ArchiveFailure as failure:
            if failure.reason == "http_404":
                raise _Skipped(GONE) from failure
            if failure.fault is Fault.ARCHIVE:
                raise
            tries, successes = self.failures.get(path, (0, self.successes - 1))
            if self.successes > successes:
                self.failures[path] = [tries + 1, self.successes]
            if self.failures[path][0] < _MAX_TRIES:
                raise
            del self.failures[path]
            logger.error("object_skipped", extra={"archive": self.archive.name, "reason": failure.reason})
            raise _Skipped(ATTRIBUTES_UNREADABLE) from failure


Feed = OrthancChangeFeed | DicomWebSearch


def next_page(pages: Iterator[Page]) -> Page | None:
    """Return the next page of a feed, None after the last one."""
    with classify_failures():  # an answer of another shape than expected is the archive's matter, not ours
        return next(pages, None)


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


@dataclass
class FeedWatcher:
    """Read the feed of one archive, and make jobs of the images that the rules select."""

    archive: Archive
    feed: Feed
    context: WorkerContext
    has_jobs: threading.Event  # set when there are new jobs
    availability: Availability
    _told: set[str] = field(default_factory=set)  # defects that log and audit trail have named
    _reported_again: set[str] = field(default_factory=set)  # UIDs of known objects, which got their line

    def watch(self) -> None:
        """Read the feed once, then wait; the wait is longer while the archive is unavailable."""
        name = self.archive.name
        try:
            pages = self.feed.pages(self.context.queue.position(name))
            while page := next_page(pages):
                self._add_jobs(*page)
                self._tell_defects()
                if self.context.stop.is_set():
                    return
            self._tell_defects()
        except ArchiveFailure as failure:
            self.context.metrics.failures.labels(name, "watch", failure.fault).inc()
            if self.availability.record_failure("watch", failure.reason):
                fields = {"archive": name, "stage": "watch", "reason": failure.reason}
                logger.warning("archive_unavailable", extra=fields)
            self.availability.wait()
            return
        if self.availability.record_success("watch"):
            logger.info("archive_available_again", extra={"archive": name, "stage": "watch"})
        self.context.stop.wait(self.archive.poll_seconds)

    def remember_start(self, started: float) -> None:
        """Tell the rules, and store when the worker was first started, in seconds since 1970.

        What a search does not ask for gets no line of its own. The line with the rules tells of it.
        The time is kept until the feed has been reached.
        Images that come before that, however late, are answered also with `start: now`.
        """
        queue, name = self.context.queue, self.archive.name
        rules = self.feed.rules.model_dump()
        logger.info("images_selected", extra={"archive": name, "rules": rules})
        window = {"days": self.archive.days} if self.feed.repeats else {"start": self.archive.start}
        self.context.audit.write("images_selected", archive=name, rules=rules, **window)
        if not self.feed.repeats and queue.position(name) is None:
            queue.add(
                name, (), position=BEGINNING if self.archive.start == "beginning" else f"{_SINCE}{started}"
            )

    def _tell_defects(self) -> None:
        """Say once what is wrong with the archive: images may be missed."""
        for defect in sorted(self.feed.defects - self._told):
            name = self.archive.name
            self.context.audit.write("archive_defect", archive=name, reason=defect)
            logger.warning("archive_defect", extra={"archive": name, "reason": defect})
            self._told.add(defect)

    def _add_jobs(self, notices: Sequence[Notice], position: str | None) -> None:
        """Audit the refusals first, then store jobs and position in one transaction: nothing is missed."""
        name = self.archive.name
        found = self.context.queue.recognise(name, notices)
        new = [notice for notice in found if notice.refusal != KNOWN or self._is_reported_again(notice)]
        for notice in new:
            if notice.refusal:
                self._record_refusal(notice, notice.refusal)
        jobs = [notice for notice in new if not notice.refusal]
        stored = [notice for notice in new if notice.count is None] if self.feed.repeats else jobs
        if stored or position != self.context.queue.position(name):
            self.context.queue.add(name, stored, position=position)
        if jobs:
            logger.info("images_found", extra={"archive": name, "count": len(jobs)})
            self.has_jobs.set()

    def _is_reported_again(self, notice: Notice) -> bool:
        """Return whether a change feed reports a known object again: it may have been replaced.

        A search reports each object again and again, which is no news.
        """
        uid = notice.address.sop_instance_uid
        if self.feed.repeats or uid in self._reported_again:
            return False
        if len(self._reported_again) >= _MOST_REMEMBERED:
            self._reported_again.clear()
        self._reported_again.add(uid)
        return True

    def _record_refusal(self, notice: Notice, reason: str) -> None:
        name, audit, count = self.archive.name, self.context.audit, notice.count
        if reason in SKIPPED:
            self.context.metrics.skipped.labels(name, reason).inc(count or 1)
            orthanc_id = audit.format_orthanc_id(notice.orthanc_id or "")
            fields = {"archive": name, "reason": reason, "count": count}
            audit.write("skipped", notice.address, orthanc_id=orthanc_id, **fields)
            if count:
                logger.info("images_skipped", extra=fields)
        else:
            self.context.metrics.refused.labels(name, reason).inc()
            audit.write("refused", notice.address, archive=name, by="rules", reason=reason)
