"""Hostile objects in an archive: memory and time stay bounded, and healthy images are processed."""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from dicom_helpers import make_ds, save
from hostile_files import deflate_bomb, huge_header, nested, truncated
from pacs_helpers import IDENTITY, Worker, images, memory_mib, read_body, wait_until
from pydicom import dcmread
from pydicom.uid import generate_uid

from covid_monai.phantoms.radiograph import draw_radiograph


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        self.server.owner.asked.append(parts.path)
        if match := re.fullmatch(r"/studies/[^/]+/series/[^/]+/instances/([^/]+)", parts.path):
            body = self.server.owner.objects[match[1]][1]
            part = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + body + b"\r\n--x--\r\n"
            return self.reply(part, 'multipart/related; type="application/dicom"; boundary=x')
        if "SOPInstanceUID" in query:
            uid = query["SOPInstanceUID"][0]
            found = [{"00080018": {"vr": "UI", "Value": [uid]}}] if uid in self.server.owner.stored else []
        else:
            start, limit = int(query.get("offset", ["0"])[0]), int(query["limit"][0])
            everything = [attributes for attributes, _ in self.server.owner.objects.values()]
            found = everything[start : start + limit]
        return self.reply(json.dumps(found).encode())

    def do_POST(self):
        body = read_body(self)
        boundary = re.search(r'boundary="([^"]+)"', self.headers["Content-Type"])[1].encode()
        answer = []
        for part in body.split(b"--" + boundary)[1:-1]:
            ds = dcmread(BytesIO(part.partition(b"\r\n\r\n")[2]))
            self.server.owner.stored[str(ds.SOPInstanceUID)] = ds
            answer.append({"00081155": {"vr": "UI", "Value": [str(ds.SOPInstanceUID)]}})
        self.reply(json.dumps({"00081199": {"vr": "SQ", "Value": answer}}).encode())

    def reply(self, body, kind="application/dicom+json"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class FakeArchive:
    """DICOMweb archive that returns any bytes it was given; a real archive would not accept them."""

    def __init__(self):
        self.objects = {}  # SOP Instance UID to (attributes, bytes)
        self.stored = {}
        self.asked = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.owner = self
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def hold(self, body, *, uid=None):
        """Return these bytes for a UID; the function returns the UID."""
        uid = uid or str(generate_uid())
        values = {"00080016": "1.2.840.10008.5.1.4.1.1.1", "00080018": uid, "00080060": "CR"}
        values |= {"0020000D": str(generate_uid()), "0020000E": str(generate_uid())}
        values |= {"00100010": IDENTITY["PatientName"], "00100020": IDENTITY["PatientID"]}
        self.objects[uid] = ({tag: {"vr": "UI", "Value": [value]} for tag, value in values.items()}, body)
        return uid

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def with_identity(path):
    """The same bytes with a planted patient, where the file can still be read."""
    ds = dcmread(path)
    for keyword, value in IDENTITY.items():
        setattr(ds, keyword, value)
    ds.save_as(path)
    return path.read_bytes()


def of_uid(uid):
    def change(path):
        ds = make_ds((draw_radiograph("normal", seed=0, size=256) * 4095).astype(np.uint16))
        ds.SOPInstanceUID = uid
        ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        return save(ds, path)

    return change


@pytest.mark.slow
def test_healthy_work_goes_on_beside_hostile_objects(tmp_path):
    archive = FakeArchive()
    hostile = {
        "truncated": archive.hold(truncated(tmp_path / "1.dcm").read_bytes()),
        "bomb": archive.hold(deflate_bomb(tmp_path / "bomb.dcm").read_bytes()),
        "huge": archive.hold(huge_header(tmp_path / "2.dcm").read_bytes()),
        "nested": archive.hold(nested(tmp_path / "3.dcm").read_bytes()),
        "noise": archive.hold(np.random.default_rng(0).bytes(100_000)),
        "path in its own UID": archive.hold(of_uid("../../../tmp/escaped")(tmp_path / "4.dcm").read_bytes()),
        "large": archive.hold(bytes(12 << 20)),
        "empty": archive.hold(b""),
        "path": archive.hold(b"never asked for", uid="../../../../etc/passwd"),
    }
    healthy = images(tmp_path / "images", 6)
    for path in healthy:
        archive.hold(path.read_bytes(), uid=str(dcmread(path).SOPInstanceUID))
    polled = {"name": "main", "source": "dicomweb", "url": archive.url, "poll_seconds": 0.5}
    worker = Worker(
        tmp_path / "worker",
        polled,
        rules={"modalities": ["CR"]},
        limits={"object_mib": 10, "attempts": 2, "longest_wait_seconds": 1, "decode_seconds": 20},
        audit={"file": str(tmp_path / "worker" / "audit.jsonl"), "identifiers": "plain"},
    )
    worker.start()
    try:
        before, begin = memory_mib(worker.process), time.monotonic()
        wait_until(lambda: len(archive.stored) >= 2 * len(healthy), seconds=120, what="answers")
        wait_until(lambda: worker.metric("queue_jobs") == 0, seconds=60)
        assert time.monotonic() - begin < 150
        assert memory_mib(worker.process) - before < 400  # Grad-CAM's, not theirs
        named = {line.get("instance"): line["reason"] for line in worker.audit() if "reason" in line}
        assert {name: named.get(uid) for name, uid in hostile.items() if name != "path"} == {
            "truncated": "unreadable", "bomb": "too_large", "huge": "too_large", "nested": "unreadable",
            "noise": "unreadable", "path in its own UID": "no_results_NoResultObjects", "large": "too_large",
            "empty": "unreadable",
        }  # fmt: skip
        refused = [line for line in worker.audit() if line["event"] == "refused"]
        assert [one["reason"] for one in refused if "instance" not in one] == ["malformed_uid"]
        assert not any("passwd" in path for path in archive.asked)
        assert sorted(path.name for path in worker.state.iterdir() if path.is_dir()) == ["spool"]
        listed = worker.command("dead-letters", "list")
        assert listed.returncode == 0
        assert hostile["large"] in listed.stdout
        assert "http" not in listed.stdout
        letters = json.loads(worker.command("dead-letters", "list", "--json").stdout)["dead_letters"]
        assert hostile["large"] in {letter["sop_instance_uid"] for letter in letters}
        again = worker.command("dead-letters", "retry", "--all")
        assert again.returncode == 0
        assert "put back into the queue" in again.stdout
        wait_until(lambda: worker.metric("queue_jobs") == 0, seconds=60)
        assert worker.command("dead-letters", "drop", "--all").returncode == 0
        assert worker.metric("dead_letters") == 0
        worker.assert_names_nobody(worker.metrics(), listed.stdout, str(worker.health()))
    finally:
        worker.end()
        archive.close()
