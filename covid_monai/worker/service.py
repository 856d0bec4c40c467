"""The service: threads for each archive, one model for all, until a signal ends it."""

import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, disable_created_metrics

from covid_monai import __version__
from covid_monai.core.atomic_files import make_private_folder
from covid_monai.core.vocabulary import DecoderNotStarted
from covid_monai.pacs.client import ArchiveClient
from covid_monai.pacs.failures import Availability
from covid_monai.readers.sandbox import DecodeSandbox
from covid_monai.worker.audit import AuditTrail
from covid_monai.worker.context import Model, WorkerContext
from covid_monai.worker.feeds import FeedWatcher, OrthancChangeFeed
from covid_monai.worker.monitoring import (
    DECODER_FAILURE,
    DRIFT_WINDOW,
    Metrics,
    MonitoringServer,
    ScoreDrift,
    StateCollector,
)
from covid_monai.worker.processor import BatchProcessor
from covid_monai.worker.queue import JobQueue, damaged_queue_error
from covid_monai.worker.retry import RetryPolicy
from covid_monai.worker.search import DicomWebSearch
from covid_monai.worker.settings import Archive, Settings

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0  # time until the queue is read without a notice: retried dead letters, postponed jobs
_DAY = 86400.0


class Service:
    """All threads of the worker, which was started at a time (seconds since 1970).

    Raises:
        ValueError: If bundle, credentials or queue cannot be used.
        OSError: If a folder cannot be written, or the port is taken.
    """

    def __init__(self, settings: Settings, bundle_dir: Path, started: float) -> None:
        self._settings = settings
        self._started = started
        self._stop = threading.Event()
        self._fatal_error: Exception | None = None
        _empty_spool(settings.spool_dir)
        registry = _registry()
        self._context = self._make_context(registry, bundle_dir)
        self._sandboxes: list[DecodeSandbox] = []
        self._availabilities: dict[str, Availability] = {}
        self._has_jobs: dict[str, threading.Event] = {}
        self._last_wakes: dict[str, float] = {}  # as `JobQueue.wake_times`
        self._threads = [thread for archive in settings.archives for thread in self._make_threads(archive)]
        registry.register(StateCollector(self._state, self._context.drift))
        host, port, names = str(settings.monitoring.host), settings.monitoring.port, settings.monitoring.names
        self._monitoring = MonitoringServer(
            host, port, registry=registry, get_health=self._health, names=names
        )

    def _make_context(self, registry: CollectorRegistry, bundle_dir: Path) -> WorkerContext:
        settings = self._settings
        queue = JobQueue(settings.state_dir)
        model = Model(settings, bundle_dir)
        return WorkerContext(
            settings=settings,
            queue=queue,
            model=model,
            audit=AuditTrail(settings.audit_file, settings.audit.identifiers, settings.state_dir),
            metrics=Metrics(registry),
            drift=ScoreDrift(model.reference, queue.latest_probabilities(DRIFT_WINDOW)),
            stop=self._stop,
        )

    def _make_threads(self, archive: Archive) -> list[threading.Thread]:
        limits, context = self._settings.limits, self._context
        client = ArchiveClient(archive, max_object_bytes=limits.object_mib << 20)
        feed_class = OrthancChangeFeed if archive.source == "orthanc" else DicomWebSearch
        feed = feed_class(archive, client, self._settings.rules_of(archive))
        has_jobs = self._has_jobs[archive.name] = threading.Event()
        availability = Availability(longest_wait_s=limits.longest_wait_seconds, stop=self._stop)
        watcher = FeedWatcher(archive, feed, context, has_jobs, availability)
        watcher.remember_start(self._started)
        sandbox = DecodeSandbox(
            seconds=limits.decode_seconds,
            memory_mib=limits.decode_memory_mib,
            target_size=context.model.image_size,
        )
        retry_policy = RetryPolicy(limits, availability)
        self._sandboxes.append(sandbox)
        self._availabilities[archive.name] = availability
        steps: dict[str, Callable[[], None]] = {f"watch-{archive.name}": watcher.watch}
        for number in range(archive.connections):
            processor = BatchProcessor(archive, client, sandbox, context, retry_policy)
            steps[f"process-{archive.name}-{number}"] = partial(_process_or_wait, processor, has_jobs)
        return [
            threading.Thread(target=self._repeat, args=(step,), name=name, daemon=True)
            for name, step in steps.items()
        ]

    def _repeat(self, step: Callable[[], None]) -> None:
        """Repeat a step until the service stops. A failure of this machine makes it wait; others end it."""
        thread, failures = threading.current_thread().name, self._context.failures
        waits = Availability(longest_wait_s=self._settings.limits.longest_wait_seconds, stop=self._stop)
        while not self._stop.is_set():
            try:
                step()
                waits.record_success(thread)
                if failures.record(thread, None):
                    logger.info("storage_works_again")
            except DecoderNotStarted:  # which the processor has told
                waits.record_failure(thread, DECODER_FAILURE)
                waits.wait()
            except (sqlite3.OperationalError, OSError, MemoryError) as error:
                if failures.record(thread, type(error).__name__):
                    logger.exception("storage_failing")
                waits.record_failure(thread, type(error).__name__)
                waits.wait()
            except Exception as error:
                self._fatal_error = error
                logger.critical("service_failed", exc_info=error)
                self._stop.set()

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, or until an error ends a thread; that error is raised.

        A queue that was damaged meanwhile is a `QueueError`.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for thread in self._threads:
            thread.start()
        logger.info("service_started", extra={"address": self._monitoring.url})
        next_cleaning = time.monotonic()
        while not self._stop.wait(1.0):
            self._end_waits()
            if time.monotonic() > next_cleaning:
                self._forget_old_jobs()
                next_cleaning = time.monotonic() + _DAY
        self._end()
        if isinstance(self._fatal_error, sqlite3.DatabaseError):
            raise damaged_queue_error(self._context.queue.path, str(self._fatal_error)) from self._fatal_error
        if self._fatal_error is not None:
            raise self._fatal_error

    def _end_waits(self) -> None:
        """Let archives be tried at once for which a person has asked that since the last look."""
        with suppress(sqlite3.OperationalError):  # full or locked: the next look is soon enough
            asked = self._context.queue.wake_times()
            for name, availability in self._availabilities.items():
                if asked.get(name, 0.0) > self._last_wakes.get(name, self._started):
                    availability.end_waits()
                    self._has_jobs[name].set()
                    logger.info("retried_now", extra={"archive": name})
            self._last_wakes = asked

    def _forget_old_jobs(self) -> None:
        try:
            self._context.queue.forget(before=time.time() - self._settings.limits.keep_days * _DAY)
        except sqlite3.OperationalError:  # full or locked: tomorrow is soon enough
            logger.exception("storage_failing")

    def _on_signal(self, number: int, _: object) -> None:
        logger.info("service_stopping", extra={"signal": signal.Signals(number).name})
        if self._stop.is_set():  # a second signal ends the process at once
            os._exit(0)
        self._stop.set()

    def _end(self) -> None:
        """Give the threads time to end, then leave; the next start does the rest of the work."""
        end = time.monotonic() + self._settings.limits.stop_seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        left = sum(thread.is_alive() for thread in self._threads)
        logger.info("service_stopped", extra={"count": left})
        for sandbox in self._sandboxes if not left else ():
            sandbox.close()
        self._monitoring.close()
        if left and self._fatal_error is None:
            sys.stderr.flush()
            os._exit(0)  # Python would wait for the threads, and ending torch's own threads is unsafe

    def _state(self) -> dict[str, dict[str, float]]:
        """Return the values of the gauges, by metric and archive."""
        now, queue, names = time.time(), self._context.queue, list(self._availabilities)
        waiting, dead, oldest = queue.count("waiting"), queue.count("dead"), queue.oldest_notice()
        failures = self._context.failures
        return {
            "queue_jobs": {name: waiting.get(name, 0) for name in names},
            "dead_letters": {name: dead.get(name, 0) for name in names},
            "oldest_job_seconds": {name: max(0.0, now - oldest.get(name, now)) for name in names},
            "archive_up": {
                name: float(one.failure_reason is None) for name, one in self._availabilities.items()
            },
            "storage_failing": {"": float(failures.of_storage() is not None)},
            "decoder_failing": {"": float(failures.of_decoder() is not None)},
        }

    def _health(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the service works, and details; an unavailable archive is no reason to restart."""
        ended = [thread.name for thread in self._threads if not thread.is_alive()]
        failures = {name: one.failure_reason for name, one in self._availabilities.items()}
        storage, decoder = self._context.failures.of_storage(), self._context.failures.of_decoder()
        is_healthy = not (ended or storage or decoder)
        status = "failing" if not is_healthy else "degraded" if any(failures.values()) else "ok"
        return is_healthy, {
            "status": status,
            "version": __version__,
            "started": self._started,
            "archives": {
                name: {
                    "up": one.failure_reason is None,
                    "failure": one.failure_reason,
                    "since": one.failing_since,
                }
                for name, one in self._availabilities.items()
            },
            "storage_failure": storage,
            "decoder_failure": decoder,
            "ended_threads": ended,
        }


def _empty_spool(folder: Path) -> None:
    """Remove the images that a killed process left, and nothing else; make the folder if it is missing."""
    make_private_folder(folder)
    left = []
    for file in folder.glob("*.dcm"):
        try:
            file.unlink()
        except OSError as error:  # an image is fetched into a file of its own: this one is in nobody's way
            left.append(type(error).__name__)
    if left:
        logger.error("files_not_removed", extra={"reason": left[0], "count": len(left)})


def _registry() -> CollectorRegistry:
    disable_created_metrics()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def _process_or_wait(processor: BatchProcessor, has_jobs: threading.Event) -> None:
    if not processor.process_batch():
        has_jobs.wait(_IDLE_SECONDS)
        has_jobs.clear()
