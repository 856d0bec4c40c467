"""What all archives' threads share."""

import threading
from dataclasses import dataclass

from covid_monai.worker.audit import AuditTrail, Identifiers
from covid_monai.worker.metrics import Drift, Metrics
from covid_monai.worker.model import Model
from covid_monai.worker.queue.queue import JobQueue
from covid_monai.worker.settings import Settings


@dataclass(frozen=True)
class Common:
    """One of each for the whole service.

    Args:
        settings: The configuration.
        queue: Where jobs are.
        model: Classifier and results.
        audit: The trail.
        identifiers: How UIDs appear in log lines.
        metrics: Counters.
        drift: Latest probabilities.
        stop: Set when the service is to end.
    """

    settings: Settings
    queue: JobQueue
    model: Model
    audit: AuditTrail
    identifiers: Identifiers
    metrics: Metrics
    drift: Drift
    stop: threading.Event
