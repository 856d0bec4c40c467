"""Audit, log, metrics and health: what they say, and what they never say."""

import hashlib
import hmac
import json
import logging
import os
import stat
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from covid_monai.core.json_log import JsonFormatter
from covid_monai.evaluation.decisions.score_reference import fit_score_reference
from covid_monai.worker.audit import KEY_FILE, AuditTrail, Identifiers
from covid_monai.worker.metrics import DRIFT_LEAST, Drift, Metrics, StateCollector
from covid_monai.worker.monitoring import MonitoringServer


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_uid_is_hashed_with_a_key_that_only_the_owner_reads(tmp_path):
    identifiers = Identifiers("hashed", tmp_path)
    key = tmp_path / KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    expected = hmac.new(key.read_bytes().strip(), b"1.2.3", hashlib.sha256).hexdigest()
    assert identifiers.show("1.2.3") == expected[:32] == Identifiers("hashed", tmp_path).show("1.2.3")
    assert Identifiers("plain", tmp_path).show("1.2.3") == "1.2.3"
    assert Identifiers("plain", tmp_path).show("Doe^Jane") is None


def test_the_trail_follows_logrotate(tmp_path):
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail(path, Identifiers("plain", tmp_path))
    trail.write("answered", instance="1.2")
    path.rename(tmp_path / "audit.jsonl.1")
    trail.write("refused", instance="1.3", reason=None)
    trail.close()
    assert [line["event"] for line in lines(tmp_path / "audit.jsonl.1")] == ["answered"]
    (line,) = lines(path)
    assert line["instance"] == "1.3"
    assert "reason" not in line


def test_half_a_line_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail(path, Identifiers("plain", tmp_path))
    trail.write("answered", instance="1.2")
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:10]))
    with pytest.raises(OSError, match="only part"):
        trail.write("answered", instance="1.3")
    monkeypatch.undo()
    trail.write("answered", instance="1.4")
    assert [line["instance"] for line in lines(path)] == ["1.2", "1.4"]


def logged(logger, *arguments, **options):
    record = logging.getLogger(logger).makeRecord(
        logger, logging.WARNING, "", 0, *arguments, options.get("exc_info"), extra=options.get("extra")
    )
    return json.loads(JsonFormatter().format(record))


def test_a_librarys_words_and_an_exceptions_text_stay_out_of_the_log():
    said = logged("urllib3.connectionpool", "GET %s", ("/studies/1.2?PatientName=Doe",))
    assert said["event"] == "library_message"
    assert "Doe" not in json.dumps(said)
    try:
        raise ValueError("PatientName is Doe^Jane")
    except ValueError as error:
        exception = (type(error), error, error.__traceback__)
    said = logged("covid_monai.worker.service", "service_broken", (), exc_info=exception, extra={"job": 7})
    assert (said["event"], said["error"], said["job"]) == ("service_broken", "ValueError", 7)
    assert said["where"]
    assert "Doe" not in json.dumps(said)


def test_metrics_and_health_are_served_and_nothing_else(tmp_path):
    registry = CollectorRegistry()
    Metrics(registry).refused.labels("main", "views").inc()
    health = (True, {"status": "ok"})
    server = MonitoringServer("127.0.0.1", 0, registry=registry, health=lambda: health)

    def get(path):
        with urllib.request.urlopen(server.address + path, timeout=10) as response:
            return response.read().decode()

    assert 'covid_monai_refused_total{archive="main",reason="views"} 1.0' in get("/metrics")
    assert json.loads(get("/healthz")) == {"status": "ok"}
    health = (False, {"status": "failing"})
    for path, code in (("/healthz", 503), ("/", 404)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(path)
        assert caught.value.code == code
    server.close()


def test_drift_is_told_once_there_are_enough_answers():
    reference = fit_score_reference([[i / 200, 1 - i / 200] for i in range(200)], ("a", "b"), chosen_on={})
    state = {
        "queued": {"main": 3},
        "dead": {},
        "oldest_seconds": {},
        "up": {"main": 0.0},
        "local": {"trouble": 0.0},
    }
    drift = Drift(reference, [[0.9, 0.1]] * (DRIFT_LEAST - 1))
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
