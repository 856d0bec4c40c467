"""Metrics for Prometheus, and the HTTP server of `/metrics` and `/healthz`."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, Counter, Histogram, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

from covid_monai.evaluation.decisions.score_reference import ScoreReference

DRIFT_WINDOW = 500  # number of latest answers that are compared with the reference
MIN_DRIFT_IMAGES = 100  # with fewer answers the index means nothing
_PREFIX = "covid_monai_"
_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)

_STATE_METRICS = {
    "queue_jobs": "Number of images that wait.",
    "dead_letters": "Number of images that were given up.",
    "oldest_job_seconds": "Age of the oldest waiting image in seconds, 0 if no image waits.",
    "archive_up": "1 if the last request to the archive succeeded, else 0.",
}

GetState = Callable[[], tuple[dict[str, dict[str, float]], bool]]
GetHealth = Callable[[], tuple[bool, dict[str, Any]]]


class Metrics:
    """Counters and times of one service, which the registry shows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}{name}", text, labels, registry=registry)

        self.answered = counter(
            "answered", "Number of images whose results the archive has confirmed.", "archive", "class"
        )
        text = "Number of images that were refused by the selection rules or by the classifier."
        self.refused = counter("refused", text, "archive", "reason")
        text = "Number of failed tries. The fault is the object's, the archive's, or unclear."
        self.failures = counter("failures", text, "archive", "stage", "fault")
        text = "Time of each stage. The stage total is the time from notice to confirmation of an image."
        labels = ("archive", "stage")
        self.stages = Histogram(
            f"{_PREFIX}stage_seconds", text, labels, registry=registry, buckets=_BUCKETS_S
        )


class ScoreDrift:
    """Comparison of the latest probabilities with those of the bundle's validation images.

    Without a reference of the bundle there is no index. `latest` holds the probabilities `[N, K]` of earlier
    answers, oldest first.
    """

    def __init__(self, reference: ScoreReference | None, latest: Sequence[Sequence[float]]) -> None:
        self._reference = reference
        same_classes = [row for row in latest if reference and len(row) == len(reference.class_names)]
        self._latest: deque[Sequence[float]] = deque(same_classes, maxlen=DRIFT_WINDOW)
        self._lock = threading.Lock()

    def add(self, probabilities: Sequence[float]) -> None:
        """Add the probabilities of an answer."""
        with self._lock:
            self._latest.append(probabilities)

    def stability_index(self) -> dict[str, float]:
        """Return the population stability index by class; {} without a reference or enough answers."""
        with self._lock:
            latest = list(self._latest)
        if self._reference is None or len(latest) < MIN_DRIFT_IMAGES:
            return {}
        return self._reference.stability_index(latest)

    @property
    def count(self) -> int:
        """Number of answers that are compared."""
        return len(self._latest)


class StateCollector(Collector):
    """Metrics that are read at the moment when Prometheus asks.

    `get_state` returns the values of `_STATE_METRICS` by name and archive, and whether disk or queue cannot
    be written.
    """

    def __init__(self, get_state: GetState, drift: ScoreDrift) -> None:
        self._get_state = get_state
        self._drift = drift

    def collect(self) -> Iterator[Metric]:
        """Yield all gauges."""
        values, storage_is_failing = self._get_state()
        for name, text in _STATE_METRICS.items():
            yield _gauge(name, text, "archive", values[name])
        text = "1 while the disk or the queue cannot be written."
        yield GaugeMetricFamily(f"{_PREFIX}storage_failing", text, value=float(storage_is_failing))
        text = "Population stability index of the latest answers against the validation images."
        yield _gauge("score_drift_psi", text, "class", self._drift.stability_index())
        text = "Number of answers that score_drift_psi is computed from."
        yield GaugeMetricFamily(f"{_PREFIX}score_drift_images", text, value=self._drift.count)


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{_PREFIX}{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


class _RequestHandler(WSGIRequestHandler):
    timeout = 10  # seconds for a caller that sends nothing

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class MonitoringServer:
    """HTTP server in a thread of its own; port 0 takes a free one.

    `get_health` returns whether the service works, and the answer of `/healthz`.

    Raises:
        OSError: If the port is taken, or the address is not one of this machine.
    """

    def __init__(self, host: str, port: int, *, registry: CollectorRegistry, get_health: GetHealth) -> None:
        metrics = make_wsgi_app(registry)

        def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/metrics":
                return metrics(environ, start_response)
            if environ["PATH_INFO"] == "/healthz":
                is_healthy, body = get_health()
                status = "200 OK" if is_healthy else "503 Service Unavailable"
                start_response(status, [("Content-Type", "application/json")])
                return [json.dumps(body).encode() + b"\n"]
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"Ask for /healthz or /metrics\n"]

        try:
            self._server = make_server(host, port, answer, ThreadingWSGIServer, _RequestHandler)
        except OSError as error:
            raise OSError(
                f"/metrics cannot be served at {host}:{port} ({error.strerror}). Set another monitoring.port."
            ) from error
        self.url = f"http://{host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, name="monitoring", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
