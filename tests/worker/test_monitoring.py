"""Metrics and health: what they show, and that nothing else is served."""

import http.client
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


@pytest.fixture
def ask():
    """Ask a server that listens on an address, with headers of one's own; the status, and the body."""
    servers = {}

    def run(path, *headers, listens="127.0.0.1"):
        if listens not in servers:
            settings = {"registry": CollectorRegistry(), "get_health": lambda: (True, {"a": 1})}
            settings["names"] = ["Worker"]
            servers[listens] = MonitoringServer(listens, 0, **settings)
        port = servers[listens].url.rpartition(":")[2]
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
        connection.putrequest("GET", path, skip_host=True)
        for name, value in headers:
            connection.putheader(name, value.format(port=port))
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    yield run
    for server in servers.values():
        server.close()


@pytest.mark.parametrize(
    "headers",
    [
        *([("Host", host)] for host in ("evil.example:{port}", "localhost.evil.example", "0.0.0.0:{port}")),
        *([("Host", host)] for host in ("", "[::1", "a@localhost", "localhost,evil.example", "192.0.2.1")),
        [],
        [("Host", "localhost"), ("Host", "evil.example")],
        [("Host", "localhost:{port}"), ("Origin", "http://evil.example")],
        [("Host", "localhost:{port}"), ("Origin", "null")],
        [("Host", "localhost:{port}"), ("Sec-Fetch-Site", "cross-site")],
        [("Host", "localhost:{port}"), ("Sec-Fetch-Site", "same-site")],
    ],
)
def test_other_names_and_pages_of_other_origins_get_no_answer(ask, headers):
    for path in ("/metrics", "/healthz", "/", "/metrics?x", "//metrics"):
        status, body = ask(path, *headers)
        assert status == 403
        assert b"covid_monai" not in body
        assert b'"a"' not in body


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "127.0.0.1"])
def test_prometheus_on_this_machine_gets_an_answer(ask, host):
    assert ask("/healthz", ("Host", host)) == (200, b'{"a": 1}\n')


@pytest.mark.parametrize("host", ["worker:9108", socket.gethostname(), "192.0.2.1:9108", "[2001:db8::1]"])
def test_beyond_loopback_own_names_and_addresses_are_answered_and_no_page_of_another_origin(ask, host):
    assert ask("/healthz", ("Host", host), listens="0.0.0.0")[0] == 200
    assert ask("/healthz", ("Host", host), ("Origin", "http://evil.example"), listens="0.0.0.0")[0] == 403


@pytest.mark.parametrize("host", ["rebound.evil.example:{port}", "worker.evil.example", "worker.", ""])
def test_beyond_loopback_a_name_that_leads_here_by_dns_rebinding_is_refused(ask, host):
    assert ask("/metrics", ("Host", host), listens="0.0.0.0")[0] == 403


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
