"""Lines of the audit trail are found by UID, hashed or plain, also in packed files."""

import gzip
import json

import pytest

from covid_monai.pacs.connection import InstanceAddress
from covid_monai.worker.audit import AuditTrail
from covid_monai.worker.inspection.audit_lines import AuditReader

ADDRESS = InstanceAddress("1.2", "1.3", "1.4")


@pytest.mark.parametrize("identifiers", ["hashed", "plain"])
def test_lines_are_found_by_image_study_and_result(tmp_path, identifiers):
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail(path, identifiers, tmp_path)
    trail.write("answered", ADDRESS, archive="main", results=[trail.format_uid("1.5")])
    trail.write("refused", InstanceAddress("1.2", "1.3", "1.44"), archive="main")
    trail.write("images_selected", archive="main")
    reader = AuditReader(path, tmp_path)
    for uid, events in {
        "1.4": ["answered"],
        "1.5": ["answered"],
        "1.2": ["answered", "refused"],
        "1": [],
    }.items():
        assert [line["event"] for line in reader.lines_about([uid])] == events
    assert (tmp_path / "audit.key").exists() == (identifiers == "hashed")


def test_moved_and_packed_files_are_read_and_broken_lines_left_out(tmp_path):
    path = tmp_path / "audit.jsonl"
    AuditTrail(path, "plain", tmp_path).write("dropped", ADDRESS)
    lines = [json.dumps({"time": f"2026-01-0{n}", "event": f"e{n}", "instance": "1.4"}) for n in (1, 2)]
    path.with_name("audit.jsonl.1").write_text(lines[1] + '\n{"event": "half", "instance": "1.4"')
    path.with_name("audit.jsonl.2.gz").write_bytes(gzip.compress(f"{lines[0]}\n".encode()))
    reader = AuditReader(path, tmp_path)
    assert [line["event"] for line in reader.lines_about(["1.4"])] == ["e1", "e2", "dropped"]


def test_a_damaged_packed_file_is_named(tmp_path):
    (tmp_path / "audit.jsonl.2.gz").write_bytes(gzip.compress(b"x" * 100)[:20])
    with pytest.raises(OSError, match=r"audit\.jsonl\.2\.gz is damaged .* Move it"):
        AuditReader(tmp_path / "audit.jsonl", tmp_path).lines_about(["1.4"])


def test_nothing_is_made_where_there_is_nothing(tmp_path):
    assert AuditReader(tmp_path / "audit.jsonl", tmp_path).lines_about(["1.4"]) == []
    assert list(tmp_path.iterdir()) == []
