"""`covid-monai worker check`: everything that the service will need, tried once, in plain sentences."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from covid_monai.core.errors import first_line
from covid_monai.worker.check.archive import archive_findings
from covid_monai.worker.check.result import Finding, failure, fine, warning
from covid_monai.worker.settings import Settings
from covid_monai.worker.state_dir import queue_path

_SPARE_BYTES = 1 << 30  # for the queue and the audit trail


def findings(settings: Settings, bundle_folder: Callable[[Path | None], Path]) -> Iterator[Finding]:
    """Try what the service will need, one thing after another; nothing that was there is changed.

    Args:
        settings: The configuration, which is valid.
        bundle_folder: From what the configuration names to a folder with weights.
    """
    yield _bundle(settings, bundle_folder)
    yield from _folders(settings)
    for archive in settings.archives:
        yield from archive_findings(settings, archive)


def _bundle(settings: Settings, bundle_folder: Callable[[Path | None], Path]) -> Finding:
    from covid_monai.worker.model import Model

    try:
        folder = bundle_folder(settings.bundle)
        model = Model(settings, folder)
    except Exception as error:  # whatever keeps the model from loading, the other findings are wanted too
        return failure(f"The bundle cannot be used: {first_line(error)}")
    if model.reference is None:
        return warning(
            f"The bundle {folder} works, but stores no models/score_reference.json: there will be "
            "no drift metric. Train it again to have one."
        )
    return fine(f"The bundle {folder} loads; its classes are {', '.join(model.class_names)}.")


def _folders(settings: Settings) -> Iterator[Finding]:
    folder = settings.state_dir
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield failure(
            f"The state folder {folder} cannot be written ({error.strerror}): make it writable for the user "
            "that the service runs as, or free some space."
        )
        return
    yield _space(settings)
    yield _queue(folder)
    yield _audit(settings.audit_file)


def _space(settings: Settings) -> Finding:
    batches = sum(archive.connections for archive in settings.archives) * settings.batch_size
    needed = batches * (settings.limits.object_mib << 20) + _SPARE_BYTES
    free = shutil.disk_usage(settings.state_dir).free
    text = f"{free / 2**30:.1f} GiB are free in {settings.state_dir}"
    if free < needed:
        return warning(
            f"{text}; {needed / 2**30:.1f} GiB may be needed when all objects under way are as large as "
            "allowed: free some, or lower limits.object_mib or batch_size."
        )
    return fine(f"{text}, at most {needed / 2**30:.1f} GiB are needed.")


def _queue(folder: Path) -> Finding:
    from covid_monai.worker.queue.queue import JobQueue

    if not queue_path(folder).exists():
        return fine("There is no queue yet: the first start makes one.")
    try:
        queue = JobQueue(folder)
    except (ValueError, OSError) as error:
        return failure(f"The queue cannot be used: {first_line(error)}")
    waiting, dead = (sum(queue.counts(state).values()) for state in ("waiting", "dead"))
    queue.close()
    if dead:
        return warning(f"The queue holds {dead} dead letters: see covid-monai worker dead-letters list.")
    return fine(f"The queue is whole; {waiting} images wait in it.")


def _audit(path: Path) -> Finding:
    folder = path.parent
    existing = path if path.exists() else folder
    if not os.access(existing, os.W_OK):
        return failure(
            f"The audit trail {path} cannot be written: make {existing} writable for the service's user."
        )
    return fine(f"The audit trail goes to {path}.")
