"""How the service learns of new images: Orthanc's change feed, or searching by QIDO-RS again and again."""

import logging
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Protocol

from covid_monai.pacs.client import ArchiveClient, value_of
from covid_monai.pacs.failures import Fault, Trouble
from covid_monai.worker.queue.queue import BEGINNING
from covid_monai.worker.rules import Notice, Rules, judged

logger = logging.getLogger(__name__)

_PAGE = 100
_CHANGES = {"new_instance": "NewInstance", "stable_series": "StableSeries"}
_TRIES = 3  # to hear what an object is, before it is passed over
_TAGS = {
    "SOPClassUID": "00080016",
    "Modality": "00080060",
    "BodyPartExamined": "00180015",
    "ViewPosition": "00185101",
    "StationName": "00081010",
    "InstitutionName": "00080080",
    "ManufacturerModelName": "00081090",
}
_UIDS = {"instance": "00080018", "study": "0020000D", "series": "0020000E"}

Page = tuple[list[Notice], str | None]


class Source(Protocol):
    """Where notices come from.

    Args:
        repeats: Whether the same object is told of again and again, so that a refusal must be remembered.
    """

    repeats: bool

    def pages(self, position: str | None) -> Iterator[Page]:
        """What is new since `position`: notices, and the position behind them."""


class OrthancChanges:
    """Orthanc's change feed (`/changes`).

    Args:
        client: Of the archive.
        rules: What is answered.
    """

    repeats = False

    def __init__(self, client: ArchiveClient, rules: Rules) -> None:
        self._client = client
        self._rules = rules
        self._event = _CHANGES[client.archive.event]
        self._failures: dict[str, int] = {}

    def pages(self, position: str | None) -> Iterator[Page]:
        """What is new since `position`, in the order of the feed, a hundred changes at a time."""
        if position is None:
            yield [], self._first_position()
            return
        while True:
            answer = self._client.get_json("/changes", since=position, limit=_PAGE)
            last = int(answer["Last"])
            if last < int(position):  # Orthanc was set up anew: its feed counts from 1 again
                logger.warning("change_feed_began_anew", extra={"archive": self._client.archive.name})
                yield [], BEGINNING
                return
            changes = [change for change in answer["Changes"] if change["ChangeType"] == self._event]
            yield [notice for change in changes for notice in self._notices(change)], str(last)
            if answer["Done"]:
                return
            position = str(last)

    def _first_position(self) -> str:
        if self._client.archive.start == "beginning":
            return BEGINNING
        return str(self._client.get_json("/changes?last")["Last"])

    def _notices(self, change: dict) -> Iterator[Notice]:
        if self._event == "NewInstance":
            instances = [change["ID"]]
        else:
            series = self._asked(f"/series/{change['ID']}")
            instances = series["Instances"] if series else []
        for instance in instances:
            notice = self._notice(instance)
            if notice is not None:
                yield notice

    def _notice(self, instance: str) -> Notice | None:
        """Judge by what Orthanc's index knows first: most objects of an archive need no more."""
        known = self._asked(f"/instances/{instance}/metadata?expand")
        if known is None:
            return None
        attributes = {"RemoteAET": known.get("RemoteAET", "")}
        if "SopClassUid" in known:
            attributes["SOPClassUID"] = known["SopClassUid"]
        refusal = self._rules.refusal(attributes)
        if refusal:
            index = self._asked(f"/instances/{instance}") or {}
            uid = _text(index.get("MainDicomTags", {}).get("SOPInstanceUID"))
            return Notice(study="", series="", instance=uid, refusal=refusal, attributes=attributes)
        tags = self._asked(f"/instances/{instance}/simplified-tags")
        if tags is None:
            return None
        attributes |= {keyword: _text(tags.get(keyword)) for keyword in _TAGS}
        study, series, uid = (_text(tags.get(f"{level}InstanceUID")) for level in ("Study", "Series", "SOP"))
        return judged(self._rules, attributes, study=study, series=series, instance=uid)

    def _asked(self, path: str) -> dict | None:
        """Orthanc's answer; None if the object is gone, or tells nothing after several tries."""
        try:
            return self._client.get_json(path)
        except Trouble as trouble:
            if trouble.reason == "http_404":
                return None
            if trouble.fault is Fault.ARCHIVE:
                raise
            self._failures[path] = self._failures.get(path, 0) + 1
            if self._failures[path] < _TRIES:
                raise
            del self._failures[path]
            logger.error(
                "object_passed_over", extra={"archive": self._client.archive.name, "reason": trouble.reason}
            )
            return None


class DicomWebSearch:
    """Searching the studies of the last days by QIDO-RS, for archives without a change feed.

    Args:
        client: Of the archive.
        rules: What is answered; modalities without `*` become part of the search.
        today: For tests.
    """

    repeats = True

    def __init__(
        self, client: ArchiveClient, rules: Rules, *, today: Callable[[], date] = date.today
    ) -> None:
        self._client = client
        self._rules = rules
        self._today = today

    def pages(self, position: str | None) -> Iterator[Page]:
        """All of the last days, again and again; the queue knows what it has seen."""
        first_day = self._today() - timedelta(days=self._client.archive.days)
        filters = {"StudyDate": f"{first_day:%Y%m%d}-"}
        plain = [name for name in self._rules.modalities if "*" not in name and "?" not in name]
        searches = (
            [{**filters, "Modality": name} for name in plain] if plain == list(self._rules.modalities) else []
        )
        for search in searches or [filters]:
            yield from ((page, None) for page in self._search(search))

    def _search(self, filters: dict[str, str]) -> Iterator[list[Notice]]:
        offset, before = 0, ""
        while True:
            items = self._client.search(filters, list(_TAGS), limit=_PAGE, offset=offset)
            first = value_of(items[0], _UIDS["instance"]) if items else ""
            if not items or first == before:  # an archive that knows no offset begins again
                return
            yield [self._notice(item) for item in items]
            offset, before = offset + len(items), first

    def _notice(self, item: dict) -> Notice:
        # An attribute that the archive does not return is not judged here; the classifier reads it later.
        attributes = {keyword: value_of(item, tag) for keyword, tag in _TAGS.items() if tag in item}
        return judged(self._rules, attributes, **{name: value_of(item, tag) for name, tag in _UIDS.items()})


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
