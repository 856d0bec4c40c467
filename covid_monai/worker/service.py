"""The service: threads for each archive, one model for all, until a signal ends it."""

import logging
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from covid_monai.pacs.backoff import Availability
from covid_monai.pacs.client import ArchiveClient
from covid_monai.readers.sandbox import DecodeSandbox
from covid_monai.worker.audit import AuditTrail, Identifiers
from covid_monai.worker.common import Common
from covid_monai.worker.feeds import DicomWebSearch, OrthancChanges
from covid_monai.worker.metrics import DRIFT_WINDOW, Drift, Metrics, StateCollector
from covid_monai.worker.model import Model
from covid_monai.worker.monitoring import MonitoringServer
from covid_monai.worker.processor import Courier
from covid_monai.worker.queue.queue import JobQueue
from covid_monai.worker.settings import Archive, Settings
from covid_monai.worker.state_dir import claimed, damaged
from covid_monai.worker.watcher import Watcher

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0  # until a look into the queue without a notice: revived dead letters, postponed jobs
_DAY = 86400.0


class Service:
    """Everything that runs.

    Args:
        settings: The configuration.
        bundle_dir: Folder of the bundle.

    Raises:
        ValueError: If bundle, credentials or queue cannot be used.
        OSError: If a folder cannot be written, or the port is taken.
    """

    def __init__(self, settings: Settings, bundle_dir: Path) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._local_trouble: str | None = None
        self._broken: Exception | None = None
        self._spool = settings.state_dir / "spool"
        shutil.rmtree(self._spool, ignore_errors=True)  # of a process that was killed
        self._spool.mkdir(parents=True, mode=0o700)
        queue = JobQueue(settings.state_dir)
        identifiers = Identifiers(settings.audit.identifiers, settings.state_dir)
        model = Model(settings, bundle_dir)
        disable_created_metrics()
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._common = Common(
            settings=settings,
            queue=queue,
            model=model,
            audit=AuditTrail(settings.audit_file, identifiers),
            identifiers=identifiers,
            metrics=Metrics(registry),
            drift=Drift(model.reference, queue.latest_probabilities(DRIFT_WINDOW)),
            stop=self._stop,
        )
        self._checks: list[DecodeSandbox] = []
        self._availabilities: dict[str, list[Availability]] = {}
        self._threads = [thread for archive in settings.archives for thread in self._threads_of(archive)]
        registry.register(StateCollector(self._state, self._common.drift))
        self._monitoring = MonitoringServer(
            settings.monitoring.host, settings.monitoring.port, registry=registry, health=self._health
        )

    def _threads_of(self, archive: Archive) -> list[threading.Thread]:
        limits = self._settings.limits
        client = ArchiveClient(archive, max_object_bytes=limits.object_mib << 20)
        source_class = OrthancChanges if archive.source == "orthanc" else DicomWebSearch
        source = source_class(client, self._settings.rules_of(archive))
        work = threading.Event()
        watcher = Watcher(archive, source, self._common, work)
        check = DecodeSandbox(
            seconds=limits.decode_seconds,
            memory_mib=limits.decode_memory_mib,
            target_size=self._common.model.image_size,
        )
        availability = Availability(longest=limits.longest_pause_seconds, stop=self._stop)
        self._checks.append(check)
        self._availabilities[archive.name] = [watcher.availability, availability]
        threads = [self._thread(f"watch-{archive.name}", watcher.step)]
        for number in range(archive.connections):
            courier = Courier(client, check, self._common, availability, self._spool)
            threads.append(self._thread(f"answer-{archive.name}-{number}", _working(courier, work)))
        return threads

    def _thread(self, name: str, step: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=self._repeat, args=(step,), name=name, daemon=True)

    def _repeat(self, step: Callable[[], None]) -> None:
        """Take steps until the service stops; a full disk makes them wait, a damaged queue ends all."""
        pause = Availability(longest=self._settings.limits.longest_pause_seconds, stop=self._stop)
        while not self._stop.is_set():
            try:
                step()
                if pause.worked():
                    self._local_trouble = None
                    logger.info("local_trouble_over")
            except (sqlite3.OperationalError, OSError) as error:
                self._local_trouble = type(error).__name__
                if pause.failed(self._local_trouble):
                    logger.exception("local_trouble")
                pause.pause()
            except Exception as error:
                self._broken = error
                logger.critical("service_broken", exc_info=error)
                self._stop.set()

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT.

        Returns:
            0 after a signal.

        Raises:
            QueueError: If the queue got damaged meanwhile.
            Exception: What else no thread could go on from.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for thread in self._threads:
            thread.start()
        logger.info("service_started", extra={"address": self._monitoring.address})
        forgotten = 0.0
        while not self._stop.wait(1.0):
            if time.monotonic() - forgotten > _DAY or not forgotten:
                self._forget()
                forgotten = time.monotonic()
        self._end()
        if isinstance(self._broken, sqlite3.DatabaseError):
            raise damaged(self._common.queue.path, str(self._broken)) from self._broken
        if self._broken is not None:
            raise self._broken
        return 0

    def _forget(self) -> None:
        try:
            self._common.queue.forget(before=time.time() - self._settings.limits.keep_days * _DAY)
        except sqlite3.OperationalError:  # full or locked: tomorrow is soon enough
            logger.exception("local_trouble")

    def _on_signal(self, number: int, frame: object) -> None:
        logger.info("service_stopping", extra={"signal": signal.Signals(number).name})
        if self._stop.is_set():  # a second one: at once
            os._exit(0)
        self._stop.set()

    def _end(self) -> None:
        """Give the work in hand its time, then leave; the rest is done at the next start."""
        end = time.monotonic() + self._settings.limits.stop_seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        left = sum(thread.is_alive() for thread in self._threads)
        logger.info("service_stopped", extra={"count": left})
        for check in self._checks if not left else ():
            check.close()
        self._monitoring.close()
        if left and self._broken is None:
            sys.stderr.flush()
            os._exit(0)  # Python would wait for them, and torch's own threads do not like to be torn down

    def _state(self) -> dict[str, dict[str, float]]:
        now, queue = time.time(), self._common.queue
        names = list(self._availabilities)
        queued, dead, oldest = queue.counts("waiting"), queue.counts("dead"), queue.oldest()
        return {
            "queued": {name: queued.get(name, 0) for name in names},
            "dead": {name: dead.get(name, 0) for name in names},
            "oldest_seconds": {name: max(0.0, now - oldest.get(name, now)) for name in names},
            "up": {
                name: float(all(part.up for part in parts)) for name, parts in self._availabilities.items()
            },
            "local": {"trouble": float(self._local_trouble is not None)},
        }

    def _health(self) -> tuple[bool, dict]:
        """An archive that is down is no reason to restart this service; a full disk or dead thread is."""
        ended = [thread.name for thread in self._threads if not thread.is_alive()]
        archives = {
            name: {
                "up": all(part.up for part in parts),
                "trouble": next((p.trouble for p in parts if p.trouble), None),
            }
            for name, parts in self._availabilities.items()
        }
        well = not ended and self._local_trouble is None
        status = (
            "failing" if not well else "ok" if all(entry["up"] for entry in archives.values()) else "degraded"
        )
        return well, {
            "status": status,
            "archives": archives,
            "local_trouble": self._local_trouble,
            "ended_threads": ended,
        }


def _working(courier: Courier, work: threading.Event) -> Callable[[], None]:
    def step() -> None:
        if not courier.step():
            work.wait(_IDLE_SECONDS)
            work.clear()

    return step


def serve(settings: Settings, bundle_dir: Path) -> int:
    """Run the service of one configuration; see `Service`.

    Raises:
        QueueError: If another worker uses the state folder, or the queue is damaged.
    """
    with claimed(settings.state_dir):
        return Service(settings, bundle_dir).run()
