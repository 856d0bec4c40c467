"""Audit trail: hashed UIDs, whole lines, and logrotate."""

import hashlib
import hmac
import json
import os
import stat

import pytest

from covid_monai.pacs.connection import InstanceAddress
from covid_monai.worker.audit import KEY_FILE, AuditTrail


def of(uid):
    return InstanceAddress("1", "1.1", uid)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_uid_is_hashed_with_a_key_that_only_the_owner_reads(tmp_path):
    path = tmp_path / "audit.jsonl"
    hashed, plain = (AuditTrail(path, identifiers, tmp_path) for identifiers in ("hashed", "plain"))
    key = tmp_path / KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    expected = hmac.new(key.read_bytes().strip(), b"1.2.3", hashlib.sha256).hexdigest()
    again = AuditTrail(path, "hashed", tmp_path)
    assert hashed.format_uid("1.2.3") == expected[:32] == again.format_uid("1.2.3")
    assert plain.format_uid("1.2.3") == "1.2.3"
    assert plain.format_uid("Doe^Jane") is None


def test_the_trail_follows_logrotate(tmp_path):
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail(path, "plain", tmp_path)
    trail.write("answered", of("1.2"))
    path.rename(tmp_path / "audit.jsonl.1")
    trail.write("refused", of("1.3"), reason=None)
    assert [line["event"] for line in lines(tmp_path / "audit.jsonl.1")] == ["answered"]
    (line,) = lines(path)
    assert line["instance"] == "1.3"
    assert "reason" not in line


def test_half_a_line_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail(path, "plain", tmp_path)
    trail.write("answered", of("1.2"))
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:10]))
    with pytest.raises(OSError, match="only part"):
        trail.write("answered", of("1.3"))
    monkeypatch.undo()
    trail.write("answered", of("1.4"))
    assert [line["instance"] for line in lines(path)] == ["1.2", "1.4"]
