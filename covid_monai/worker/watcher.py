"""From what an archive tells to jobs in the queue."""

import logging
import threading
import time
from collections.abc import Sequence

from covid_monai.pacs.backoff import Availability
from covid_monai.pacs.failures import Trouble
from covid_monai.worker.common import Common
from covid_monai.worker.feeds import Source
from covid_monai.worker.rules import OWN_RESULT, Notice
from covid_monai.worker.settings import Archive

logger = logging.getLogger(__name__)


class Watcher:
    """Looks for new images in one archive.

    Args:
        archive: Which.
        source: Tells what is new.
        common: What all share.
        work: Set when there is something to do.
    """

    def __init__(self, archive: Archive, source: Source, common: Common, work: threading.Event) -> None:
        self._archive = archive
        self._source = source
        self._common = common
        self._work = work
        self.availability = Availability(
            longest=common.settings.limits.longest_pause_seconds, stop=common.stop
        )

    def step(self) -> None:
        """Look once, then wait; an archive in trouble is given longer."""
        try:
            for notices, position in self._source.pages(self._common.queue.position(self._archive.name)):
                self._take(notices, position)
                if self._common.stop.is_set():
                    return
        except Trouble as trouble:
            self._common.metrics.failures.labels(self._archive.name, "watch", trouble.fault).inc()
            if self.availability.failed(trouble.reason):
                fields = {"archive": self._archive.name, "stage": "watch", "reason": trouble.reason}
                logger.warning("archive_in_trouble", extra=fields)
            self.availability.pause()
            return
        if self.availability.worked():
            logger.info("archive_back", extra={"archive": self._archive.name, "stage": "watch"})
        self._common.stop.wait(self._archive.poll_seconds)

    def _take(self, notices: Sequence[Notice], position: str | None) -> None:
        """Refusals are audited first, then one transaction takes jobs and position: nothing is missed."""
        new = self._common.queue.unknown(self._archive.name, notices)
        refused = [notice for notice in new if notice.refusal]
        for notice in refused:
            if notice.refusal != OWN_RESULT:
                self._note_refusal(notice)
        jobs = [notice for notice in new if not notice.refusal]
        remembered = new if self._source.repeats else jobs
        if remembered or position != self._common.queue.position(self._archive.name):
            self._common.queue.add(self._archive.name, remembered, position=position, now=time.time())
        if jobs:
            logger.info("images_noticed", extra={"archive": self._archive.name, "count": len(jobs)})
            self._work.set()

    def _note_refusal(self, notice: Notice) -> None:
        self._common.metrics.refused.labels(self._archive.name, notice.refusal).inc()
        self._common.audit.write(
            "refused",
            archive=self._archive.name,
            instance=notice.instance,
            study=notice.study,
            by="rules",
            reason=notice.refusal,
        )
