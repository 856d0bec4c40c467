"""What Prometheus asks for: queue, latencies, refusals, drift, and whether each archive is up."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from covid_monai.evaluation.decisions.score_reference import ScoreReference

DRIFT_WINDOW = 500  # latest answers that are held against the reference
DRIFT_LEAST = 100  # fewer say nothing
_PREFIX = "covid_monai_"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


class Metrics:
    """Counters and latencies of one service.

    Args:
        registry: Where they are found.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answered = Counter(
            f"{_PREFIX}answered", "Images whose results the archive has confirmed", ["archive", "class"],
            registry=registry,
        )  # fmt: skip
        self.refused = Counter(
            f"{_PREFIX}refused", "Images without a result, by rule or check", ["archive", "reason"],
            registry=registry,
        )  # fmt: skip
        self.failures = Counter(
            f"{_PREFIX}failures", "Failed tries, by stage and whose fault", ["archive", "stage", "fault"],
            registry=registry,
        )  # fmt: skip
        self._stages = Histogram(
            f"{_PREFIX}stage_seconds", "Time by stage; total is from notice to confirmation",
            ["archive", "stage"], registry=registry, buckets=_SECONDS,
        )  # fmt: skip

    @contextmanager
    def timed(self, archive: str, stage: str) -> Iterator[None]:
        """Observe how long the block takes."""
        with self._stages.labels(archive, stage).time():
            yield

    def observe(self, archive: str, stage: str, seconds: float) -> None:
        """Note a time that was measured elsewhere."""
        self._stages.labels(archive, stage).observe(seconds)


class Drift:
    """The latest probabilities, held against the bundle's validation images.

    Args:
        reference: None if the bundle stores none: then there is no index.
        latest: Probabilities `[N, K]` of earlier answers, oldest first.
    """

    def __init__(self, reference: ScoreReference | None, latest: Sequence[Sequence[float]]) -> None:
        self._reference = reference
        fits = [row for row in latest if reference and len(row) == len(reference.class_names)]
        self._latest: deque[Sequence[float]] = deque(fits, maxlen=DRIFT_WINDOW)
        self._lock = threading.Lock()

    def add(self, probabilities: Sequence[float]) -> None:
        """Note an answer."""
        with self._lock:
            self._latest.append(probabilities)

    def stability_index(self) -> dict[str, float]:
        """Population stability index of each class; {} without a reference or with too few answers."""
        with self._lock:
            latest = list(self._latest)
        if self._reference is None or len(latest) < DRIFT_LEAST:
            return {}
        return self._reference.stability_index(latest)

    @property
    def count(self) -> int:
        """Answers in the window."""
        return len(self._latest)


class StateCollector(Collector):
    """Gauges that are read when Prometheus asks.

    Args:
        state: Gives `queued`, `dead`, `oldest_seconds` and `up`, each archive to number, and
            `local_trouble`, 0 or 1.
        drift: See `Drift`.
    """

    def __init__(self, state: Callable[[], dict[str, dict[str, float]]], drift: Drift) -> None:
        self._state = state
        self._drift = drift

    def collect(self) -> Iterator[Metric]:
        """Give all gauges."""
        state = self._state()
        texts = {
            "queue_jobs": ("queued", "Images that wait for an answer"),
            "dead_letters": ("dead", "Images that were given up and wait for a person"),
            "oldest_job_seconds": ("oldest_seconds", "Age of the oldest waiting image, 0 if none waits"),
            "archive_up": ("up", "1 if the archive did what was last asked of it"),
        }
        for name, (key, text) in texts.items():
            yield _gauge(name, text, "archive", state[key])
        yield GaugeMetricFamily(
            f"{_PREFIX}local_trouble",
            "1 while disk or queue cannot be written",
            value=state["local"]["trouble"],
        )
        text = "Population stability index of the latest answers against the validation images"
        yield _gauge("score_drift_psi", text, "class", self._drift.stability_index())
        yield GaugeMetricFamily(
            f"{_PREFIX}score_drift_images", "Answers that the index rests on", value=self._drift.count
        )


def _gauge(name: str, text: str, label: str, values: dict[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{_PREFIX}{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
