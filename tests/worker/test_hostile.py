"""Objects made to hurt: bounded in memory and time, named in the audit, healthy work goes on beside them."""

import json
import os
import re
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from dicom_helpers import make_ds, picture, save
from pacs_helpers import IDENTITY, Worker, images, memory_mib, read_body, wait_until
from pydicom import dcmread, dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian, generate_uid

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, Status, UnreadableImage
from covid_monai.dicom.pixels.deflated import MAX_INFLATED_BYTES
from covid_monai.readers import read_radiograph
from covid_monai.readers.sandbox import DecodeSandbox


def deflated(path, *, pixels=b"", cut=None):
    """An image in Deflated Explicit VR Little Endian; `pixels` replaces its picture."""
    ds = make_ds(picture())
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    if pixels:
        ds.PixelData = pixels
    dcmwrite(path, ds, enforce_file_format=True)
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])
    return path


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    """An image of 60 kB that unfolds to more than is read, its tail written without holding it in memory."""
    path = deflated(tmp_path_factory.mktemp("bomb") / "bomb.dcm", pixels=bytes(1000))
    content = path.read_bytes()
    start = 144 + int(dcmread(path).file_meta.FileMetaInformationGroupLength)
    whole = zlib.decompress(content[start:], -15)
    head = whole[: whole.index(b"\xe0\x7f\x10\x00OW") + 8]
    packer = zlib.compressobj(9, wbits=-15)
    packed = [packer.compress(head + (MAX_INFLATED_BYTES + (1 << 24)).to_bytes(4, "little"))]
    packed += [packer.compress(bytes(1 << 24)) for _ in range(MAX_INFLATED_BYTES // (1 << 24) + 2)]
    path.write_bytes(content[:start] + b"".join(packed) + packer.flush())
    assert path.stat().st_size < 1_000_000
    return path


def nested(path, depth=300):
    """Sequences of undefined length in each other, by the bytes: pydicom cannot write so many."""
    content = save(make_ds(picture()), path).read_bytes()
    opened = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    pixels = content.index(b"\xe0\x7f\x10\x00OW")
    path.write_bytes(content[:pixels] + opened * depth + closed * depth + content[pixels:])
    return path


def huge_header(path):
    ds = make_ds(picture())
    ds.Rows = ds.Columns = 65535
    return save(ds, path)


def truncated(path):
    save(make_ds(picture()), path)
    path.write_bytes(path.read_bytes()[:-5000])
    return path


def test_a_deflated_image_is_read_and_one_that_is_damaged_is_told(tmp_path):
    image, _ = read_radiograph(deflated(tmp_path / "good.dcm"))
    plain, _ = read_radiograph(save(make_ds(picture()), tmp_path / "plain.dcm"))
    assert np.array_equal(image, plain)
    with pytest.raises(UnreadableImage, match=r"cut.dcm"):
        read_radiograph(deflated(tmp_path / "cut.dcm", cut=2000))


def test_a_deflate_bomb_is_refused_before_it_unfolds(bomb):
    with pytest.raises(RefusedImage, match="Unfolds to more than") as caught:
        read_radiograph(bomb)
    assert caught.value.reason is RefusalReason.TOO_LARGE


@pytest.fixture(scope="module")
def check():
    found = DecodeSandbox(seconds=20, memory_mib=1024, target_size=8)
    yield found
    found.close()


def test_the_check_passes_images_and_turns_the_rest_away_with_the_readers_words(check, tmp_path):
    assert check.check(save(make_ds(picture()), tmp_path / "image.dcm")).status is Status.OK
    verdict = check.check(huge_header(tmp_path / "huge.dcm"))
    assert (verdict.status, verdict.reason) == (Status.REFUSED, "too_large")
    assert check.check(truncated(tmp_path / "short.dcm"))[:2] == (Status.ERROR, "unreadable")
    assert check.check(nested(tmp_path / "nested.dcm", depth=300))[:2] == (Status.ERROR, "unreadable")
    assert check.check(nested(tmp_path / "deep.dcm", depth=30_000))[:2] == (Status.ERROR, "unreadable")
    assert check.check(tmp_path / "none.dcm")[:2] == (Status.ERROR, "unreadable")
    assert check.check(save(make_ds(picture()), tmp_path / "image2.dcm")).status is Status.OK


def test_what_takes_too_much_memory_ends_the_child_and_not_us(tmp_path):
    small = DecodeSandbox(seconds=60, memory_mib=1)
    image = np.tile(picture(2000, 2000, dtype=np.uint16, top=4095), (4, 4))
    path = save(make_ds(image, bits_stored=12), tmp_path / "large.dcm")
    verdict = small.check(path)
    assert verdict.status is Status.ERROR
    assert verdict.reason in ("too_much_memory", "unreadable", "decoder_crashed")  # as the decoder takes it
    small.close()


@pytest.mark.slow
def test_what_takes_too_long_or_crashes_the_child_costs_only_the_child(tmp_path):
    fifo, image = tmp_path / "fifo", save(make_ds(picture()), tmp_path / "image.dcm")
    os.mkfifo(fifo)  # reading it never ends
    check = DecodeSandbox(seconds=0.5, memory_mib=1024)
    assert check.check(fifo).reason == "too_slow"
    patient = DecodeSandbox(seconds=60, memory_mib=1024)
    assert patient.check(image).status is Status.OK
    threading.Timer(0.5, patient._child.kill).start()
    assert patient.check(fifo).reason == "decoder_crashed"
    for one in (check, patient):
        one._seconds = 60
        assert one.check(image).status is Status.OK
        one.close()


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
    """DICOMweb that hands out whatever it was given, byte for byte: no real archive would have taken it."""

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
        """Hand out these bytes under a UID; returns it."""
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
        ds = make_ds(picture())
        ds.SOPInstanceUID = uid
        ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        return save(ds, path)

    return change


@pytest.mark.slow
def test_healthy_work_goes_on_beside_hostile_objects(tmp_path, bomb):
    archive = FakeArchive()
    hostile = {
        "truncated": archive.hold(truncated(tmp_path / "1.dcm").read_bytes()),
        "bomb": archive.hold(bomb.read_bytes()),
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
        limits={"object_mib": 10, "attempts": 2, "longest_pause_seconds": 1, "decode_seconds": 20},
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
        assert [line["reason"] for line in worker.audit() if "instance" not in line] == ["malformed_uid"]
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
