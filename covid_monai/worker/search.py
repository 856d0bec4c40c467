"""Repeated search (QIDO-RS) for new images, for archives without a change feed; what the archive ignores."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from covid_monai.pacs.client import ArchiveClient, first_value, tag_of
from covid_monai.pacs.connection import UNKNOWN_ADDRESS, InstanceAddress
from covid_monai.pacs.failures import ArchiveFailure
from covid_monai.worker.rules import OLDER, RULE_OF_ATTRIBUTE, Notice, Page, Rules
from covid_monai.worker.settings import Archive

ATTRIBUTES = [name for name in RULE_OF_ATTRIBUTE if name != "RemoteAET"]
SEARCHED = [*ATTRIBUTES, "StudyDate"]
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
PAGE = 100
_LARGER_PAGE = 5000  # asked for where an archive shows no second page
_LARGEST_SEARCH = 100_000  # images; a search that finds more is not read to its end
_RECENT = timedelta(hours=12)  # the archive may be in another time zone
_NO_STUDY_DATE, _NO_MODALITY = "18000101", "ZZ"  # no study has them

ARCHIVE_DEFECTS = {
    "changes_repeated": "its change feed ignores `since` or does not go on. Ask the vendor, or look for a "
    "proxy that changes addresses",
    "offset_ignored": "it ignores `offset` and begins each page again. Images behind its first page are not "
    "found: set fewer `days`, or ask the vendor",
    "limit_ignored": "it ignores `limit` and answers with all images at once. Set fewer `days`",
    "study_date_ignored": "it ignores the filter StudyDate. The worker leaves out what is older than `days` "
    "if the answer tells its date; else it answers images of all days. Ask the vendor",
    "modality_ignored": "it ignores the filter Modality. The worker leaves out what does not fit if the "
    "answer tells its modality",
    "uids_missing": "it returns images without Study, Series or SOP Instance UID. They cannot be fetched",
    "no_end": f"the search has found {_LARGEST_SEARCH:,} images and no end. The rest is not read: set fewer "
    "`days`, or modalities without * in the rules",
}


@dataclass
class DicomWebSearch:
    """Repeated search for the studies of the last days.

    Modalities without a pattern become part of the search. It reports the same objects again and again, so
    the queue must store refusals, too. The archive's answers are not trusted to fit the question.
    """

    archive: Archive
    client: ArchiveClient
    rules: Rules
    defects: set[str] = field(default_factory=set)  # keys of `ARCHIVE_DEFECTS` that the answers have shown
    repeats = True
    _next_full_search: float = 0.0  # time.monotonic()

    def pages(self, _position: str | None) -> Iterator[Page]:
        """Yield images at each call; the queue knows which ones it has seen.

        A full search finds those of the last `days`. The searches between two full ones find those of
        studies that began in the last hours, which is where nearly all new images are.
        """
        is_full = time.monotonic() >= self._next_full_search
        if self._next_full_search == 0:
            with suppress(ArchiveFailure):  # an archive that is down fails in the search itself
                self.probe()
        first_day = (
            search_begin(self.archive)
            if is_full
            else max(search_begin(self.archive), (_now() - _RECENT).date())
        )
        for filters in self._filters(first_day):
            yield from ((page, None) for page in self._search(filters))
        if is_full:
            if self._next_full_search == 0 and (older := self._count_older()):
                yield [Notice(UNKNOWN_ADDRESS, OLDER, count=older)], None
            self._next_full_search = time.monotonic() + self.archive.seconds_between_full_searches

    def probe(self) -> None:
        """Ask for what no archive has, and for one image at a time: what comes shows what it ignores."""
        window = self._filters(search_begin(self.archive))[0]
        for defect, impossible in (
            ("study_date_ignored", {"StudyDate": _NO_STUDY_DATE}),
            ("modality_ignored", {**window, "Modality": _NO_MODALITY}),
        ):
            if self.client.search(impossible, SEARCHED, limit=1, offset=0):
                self.defects.add(defect)
        pages = [self.client.search(window, SEARCHED, limit=1, offset=offset) for offset in (0, 1, 0, 1)]
        if len(pages[0]) > 1:
            self.defects.add("limit_ignored")
        # Twice, because an image that comes between two searches moves the others.
        if pages[0] and all(_instances(page) == _instances(pages[0]) for page in pages):
            self.defects.add("offset_ignored")

    def _count_older(self) -> int:
        """Return the number of studies before the first day, as far as one answer tells."""
        if "study_date_ignored" not in self.defects:
            last_day = search_begin(self.archive) - timedelta(days=1)
            with suppress(ArchiveFailure):  # some archives refuse so large a search
                return self.client.count_studies(f"-{last_day:%Y%m%d}", limit=_LARGER_PAGE)
        return 0

    def _filters(self, first_day: date) -> list[dict[str, str]]:
        days = {"StudyDate": f"{first_day:%Y%m%d}-"}
        modalities = self.rules.modalities
        if not modalities or any("*" in name or "?" in name for name in modalities):
            return [days]
        return [{**days, "Modality": name} for name in modalities]

    def _search(self, filters: dict[str, str]) -> Iterator[list[Notice]]:
        """Yield the images that match, page by page, until a page is empty or brings nothing new."""
        seen: set[str] = set()
        limit, offset, first_page = PAGE, 0, 0
        while items := self.client.search(filters, SEARCHED, limit=limit, offset=offset):
            if len(items) > limit:
                self.defects.add("limit_ignored")
            new = [item for item in items if first_value(item, "SOPInstanceUID") not in seen]
            if offset == 0:
                first_page = len(items)
            elif not new:
                if len(items) < first_page:  # images that came meanwhile have moved the last ones here
                    return
                self.defects.add("offset_ignored")
                if len(items) < limit or limit == _LARGER_PAGE:
                    return
                limit, offset = _LARGER_PAGE, 0  # there may be more, which no second page will show
                continue
            seen |= _instances(items)
            yield list(filter(None, (self._notice(item, filters) for item in new)))
            offset += len(items)
            if offset >= _LARGEST_SEARCH:
                self.defects.add("no_end")
                return

    def _notice(self, item: dict[str, Any], filters: dict[str, str]) -> Notice | None:
        """Return the notice of an image; one that the archive should not have returned is refused.

        It is None if a full search will find the image, but this search has not asked for its day.
        """
        if not all(first_value(item, name) for name in UIDS):
            self.defects.add("uids_missing")
        modality = first_value(item, "Modality").strip().upper()
        if modality and modality != filters.get("Modality", modality).upper():
            self.defects.add("modality_ignored")
        notice = judge_item(item, self.rules)
        study_date = first_value(item, "StudyDate").replace(".", "")  # with dots before DICOM 3.0
        if not re.fullmatch(r"\d{8}", study_date) or study_date >= filters["StudyDate"].rstrip("-"):
            return notice
        self.defects.add("study_date_ignored")
        is_older = study_date < f"{search_begin(self.archive):%Y%m%d}"
        return replace(notice, refusal=OLDER) if is_older else None


def judge_item(item: dict[str, Any], rules: Rules) -> Notice:
    """Return the notice of an image in DICOM JSON.

    An attribute that the archive does not return is not judged here; the classifier reads it later.
    """
    attributes = {name: first_value(item, name) for name in ATTRIBUTES if tag_of(name) in item}
    return rules.judge(InstanceAddress(*(first_value(item, name) for name in UIDS)), attributes)


def search_begin(archive: Archive) -> date:
    """Return the first Study Date that a full search asks for."""
    return _now().date() - timedelta(days=archive.days)


def _instances(items: Sequence[dict[str, Any]]) -> set[str]:
    return {first_value(item, "SOPInstanceUID") for item in items}


def _now() -> datetime:
    return datetime.now().astimezone()  # the machine's local time, as Study Date is a local date
