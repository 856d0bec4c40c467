"""Objects that the threads of all archives share."""

import threading
from dataclasses import dataclass

from covid_monai.worker.audit import AuditTrail
from covid_monai.worker.model import Model
from covid_monai.worker.monitoring import Metrics, ScoreDrift
from covid_monai.worker.queue import JobQueue
from covid_monai.worker.settings import Settings


@dataclass(frozen=True)
class WorkerContext:
    """One object of each kind for the whole service."""

    settings: Settings
    queue: JobQueue
    model: Model
    audit: AuditTrail
    metrics: Metrics
    drift: ScoreDrift
    stop: threading.Event  # set when the service is to end
