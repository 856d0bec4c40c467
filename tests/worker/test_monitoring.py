"""Metrics and health: what they show, and that nothing else is served."""

import json
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from covid_monai.evaluation.decisions.score_reference import fit_score_reference
from covid_monai.worker.monitoring import (
    MIN_DRIFT_IMAGES,
    Metrics,
    MonitoringServer,
    ScoreDrift,
    StateCollector,
)


def test_metrics_and_health_are_served_and_nothing_else():
    registry = CollectorRegistry()
    Metrics(registry).refused.labels("main", "views").inc()
    health = (True, {"status": "ok"})
    server = MonitoringServer("127.0.0.1", 0, registry=registry, get_health=lambda: health)

    def get(path):
        with urllib.request.urlopen(server.url + path, timeout=10) as response:
            return response.read().decode()

    assert 'covid_monai_refused_total{archive="main",reason="views"} 1.0' in get("/metrics")
    assert json.loads(get("/healthz")) == {"status": "ok"}
    health = (False, {"status": "failing"})
    for path, code in (("/healthz", 503), ("/", 404)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(path)
        assert caught.value.code == code
    server.close()


def test_drift_is_shown_once_there_are_enough_answers():
    reference = fit_score_reference([[i / 200, 1 - i / 200] for i in range(200)], ("a", "b"), chosen_on={})
    state = {
        "queue_jobs": {"main": 3},
        "dead_letters": {},
        "oldest_job_seconds": {},
        "archive_up": {"main": 0.0},
        "storage_failing": {"": 1.0},
        "decoder_failing": {"": 0.0},
    }
    drift = ScoreDrift(reference, [[0.9, 0.1]] * (MIN_DRIFT_IMAGES - 1))
    registry = CollectorRegistry()
    registry.register(StateCollector(lambda: state, drift))
    assert 'psi{class="a"}' not in generate_latest(registry).decode()
    drift.add([0.9, 0.1])
    text = generate_latest(registry).decode()
    (value,) = [
        float(line.split()[1])
        for line in text.splitlines()
        if line.startswith('covid_monai_score_drift_psi{class="a"}')
    ]
    assert value > 0.25
    assert 'covid_monai_queue_jobs{archive="main"} 3.0' in text
    assert 'covid_monai_archive_up{archive="main"} 0.0' in text
    assert "covid_monai_storage_failing 1.0" in text


def test_a_port_that_is_taken_names_the_setting():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match=r"monitoring\.port"):
        MonitoringServer(
            "127.0.0.1", taken.getsockname()[1], registry=CollectorRegistry(), get_health=lambda: (True, {})
        )
