"""Metrics for Prometheus, and the HTTP server of `/metrics` and `/healthz`."""

import json
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, Counter, Histogram, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

from covid_monai.core.request_origin import host_name, is_foreign_page, is_loopback_name, is_own_name
from covid_monai.evaluation.decisions.score_reference import ScoreReference

DRIFT_WINDOW = 500  # number of latest answers that are compared with the reference
MIN_DRIFT_IMAGES = 100  # with fewer answers the index means nothing
_NAMESPACE = "covid_monai"
_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)

_GAUGES = {  # text and label
    "queue_jobs": ("Number of images that wait.", "archive"),
    "dead_letters": ("Number of images that were given up.", "archive"),
    "oldest_job_seconds": ("Age of the oldest waiting image in seconds, 0 if no image waits.", "archive"),
    "archive_up": ("1 if the last request to the archive succeeded, else 0.", "archive"),
    "storage_failing": ("1 while the disk or the queue cannot be written.", None),
    "decoder_failing": ("1 while the process that decodes images cannot be started.", None),
    "score_drift_psi": (
        "Population stability index of the latest answers against the validation images.",
        "class",
    ),
    "score_drift_images": ("Number of answers that score_drift_psi is computed from.", None),
}

DECODER_FAILURE = "decoder_cannot_start"

GetState = Callable[[], dict[str, dict[str, float]]]
GetHealth = Callable[[], tuple[bool, dict[str, Any]]]


class Metrics:
    """Counters and times of one service, which the registry shows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, namespace=_NAMESPACE, registry=registry)
        text = "Number of images whose results the archive has confirmed."
        self.answered = counter("answered", text, ("archive", "class"))
        text = "Number of images that were refused by the selection rules or by the classifier."
        self.refused = counter("refused", text, ("archive", "reason"))
        text = "Number of objects that get no answer by design: stored before the start, own results..."
        self.skipped = counter("skipped", text, ("archive", "reason"))
        text = "Number of failed tries. The fault is the object's, the archive's, or unclear."
        self.failures = counter("failures", text, ("archive", "stage", "fault"))
        text = "Time of each stage. The stage total is the time from notice to confirmation of an image."
        histogram = partial(Histogram, namespace=_NAMESPACE, registry=registry, buckets=_BUCKETS_S)
        self.stages = histogram("stage_seconds", text, ("archive", "stage"))


class MachineFailures:
    """What fails on this machine, and not in an archive or an image; several threads may share it."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}  # by what failed, such as the name of a thread

    def record(self, source: str, reason: str | None) -> bool:
        """Record a failure in one word, or with None its end; return whether this is news."""
        before = self._reasons.pop(source, None)
        if reason is not None:
            self._reasons[source] = reason
        return before != reason

    def of_storage(self) -> str | None:
        """Return why the disk or the queue cannot be written, None if they can."""
        return next((reason for reason in list(self._reasons.values()) if reason != DECODER_FAILURE), None)

    def of_decoder(self) -> str | None:
        """Return why no image can be decoded, None if images can."""
        return DECODER_FAILURE if DECODER_FAILURE in list(self._reasons.values()) else None


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

    `get_state` returns the values of the first gauges by name and archive; "" if the gauge has no label.
    """

    def __init__(self, get_state: GetState, drift: ScoreDrift) -> None:
        self._get_state = get_state
        self._drift = drift

    def collect(self) -> Iterator[Metric]:
        """Yield all gauges."""
        values = self._get_state() | {
            "score_drift_psi": self._drift.stability_index(),
            "score_drift_images": {"": self._drift.count},
        }
        for name, (text, label) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"{_NAMESPACE}_{name}", text, labels=[label] if label else [])
            for key, value in values[name].items():
                gauge.add_metric([key] if label else [], value)
            yield gauge


def _refusal(environ: WSGIEnvironment, names: Collection[str], *, loopback: bool) -> str | None:
    """Return why a request is not answered: DNS rebinding, or a web page of another origin."""
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if not is_own_name(host_name(headers.get("host", "")), names, loopback=loopback):
        here = "http://127.0.0.1" if loopback else "the address of this machine"
        return f"This server has another name. Ask at {here}, or set monitoring.names."
    if is_foreign_page(headers):
        return "No web page of another origin gets an answer."
    return None


class _RequestHandler(WSGIRequestHandler):
    timeout = 10  # seconds for a caller that sends nothing

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class MonitoringServer:
    """HTTP server in a thread of its own; port 0 takes a free one.

    `get_health` returns whether the service works, and the answer of `/healthz`. `names` are those that
    callers use beside the ones of `is_own_name`.

    Raises:
        OSError: If the port is taken, or the address is not one of this machine.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        registry: CollectorRegistry,
        get_health: GetHealth,
        names: Collection[str] = (),
    ) -> None:
        metrics: WSGIApplication = make_wsgi_app(registry)
        known, loopback = {name.lower() for name in names}, is_loopback_name(host)

        def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if refusal := _refusal(environ, known, loopback=loopback):
                start_response("403 Forbidden", [("Content-Type", "text/plain")])
                return [refusal.encode() + b"\n"]
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
