"""The REST service over a real socket, with tight limits: what it accepts, refuses and leaves behind."""

import io
import json
import os
import struct
import sys
import time
import zlib

import pytest
import requests
from api_helpers import LIMITS, in_process, post, problem, serving, zipped
from dicom_helpers import make_ds, picture
from pacs_helpers import WORDS_OF_IDENTITY, dripping, wait_until
from pydicom.uid import DeflatedExplicitVRLittleEndian

from covid_monai.api.application import create_api
from covid_monai.api.server import ServiceSettings
from covid_monai.api.uploads import MIB, MemoryBudget
from covid_monai.core.json_log import JsonFormatter


def test_addresses_are_off_until_a_root_is_named(service):
    address = "http://169.254.169.254/studies/1/series/2/instances/3"
    problem(post(service, json={"dicomweb_url": address}), "address-not-allowed")
    assert (
        "dicomweb_url"
        in problem(post(service, json={"dicomweb_url": "file:///etc/passwd"}), "invalid")["detail"]
    )
    instance = {"00081190": {"vr": "UR", "Value": [address]}}
    headers = {"Content-Type": "application/dicom+json"}
    problem(post(service, data=json.dumps([instance]), headers=headers), "address-not-allowed")


@pytest.mark.slow
def test_bombs_are_refused_while_they_unfold(service):
    bomb = zipped([("image.dcm", bytes(300 * MIB))])
    problem(post(service, files={"files": ("bomb.zip", bomb)}), "too-large")
    nested = zipped([("bomb.zip", bomb)])
    (record,) = post(service, files={"files": ("nested.zip", nested)}).json()["predictions"]
    assert (record["status"], record["reason"]) == ("error", "unreadable")
    (record,) = post(service, files={"files": ("bomb.dcm", _deflate_bomb())}).json()["predictions"]
    assert (record["status"], record["reason"]) == ("refused", "too_large")
    (record,) = post(service, files={"files": ("huge.png", _huge_png())}).json()["predictions"]
    assert (record["status"], record["reason"]) == ("refused", "too_large")


def _deflate_bomb():
    ds = make_ds(picture())
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = io.BytesIO()
    ds.save_as(content, enforce_file_format=True)
    (length,) = struct.unpack("<I", content.getvalue()[140:144])  # of the file meta information
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    zeros = b"".join(packer.compress(bytes(1 << 24)) for _ in range(40)) + packer.flush()
    return content.getvalue()[: 144 + length] + zeros


def _huge_png():
    """A header of 60000 x 60000 pixels, and no data behind it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one))
        for one in (header, b"IDAT")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_an_archive_that_drips_is_given_up_in_time_and_says_so(engine):
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom\r\n\r\n") as root:
        settings = ServiceSettings(limits=LIMITS, fetch_seconds=1, dicomweb_roots=(root,))
        with in_process(engine, settings) as url:
            address, begin = f"{root}/studies/1.2/series/1.3/instances/1.4", time.monotonic()
            found = problem(post(url, json={"dicomweb_url": address}), "archive-too-slow")
            assert time.monotonic() - begin < 5
            assert "the limit is 1 s (--fetch-seconds)" in found["detail"]


def test_fetched_bytes_count_while_they_come(engine):
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom\r\n\r\n" + bytes(100_000)) as root:
        settings = ServiceSettings(limits=LIMITS, dicomweb_roots=(root,))
        with serving(create_api(engine, settings, budget := MemoryBudget(60_000))) as url:
            address = f"{root}/studies/1.2/series/1.3/instances/1.4"
            problem(post(url, json={"dicomweb_url": address}), "busy")
            wait_until(lambda: budget.held == 0, seconds=20, what="memory is free again")


def test_no_upload_is_written_to_a_disk(service, image, tmp_path):
    written = []

    def watch(event, arguments):
        if watching and (event.startswith(("tempfile.", "shutil.")) or _writes(event, arguments)):
            written.append((event, *map(str, arguments)))

    watching = True
    sys.addaudithook(watch)
    with (tmp_path / "seen").open("w"):
        assert written.pop()[1] == str(tmp_path / "seen")  # the watch sees what it is to see
    files = [("files", ("a.dcm", image.read_bytes())), ("files", ("b.dcm", bytes(2 * MIB)))]
    packed = ("files", ("c.zip", zipped([("d.dcm", image.read_bytes()), ("e.dcm", bytes(2 * MIB))])))
    assert post(service, files=[*files, packed]).ok
    assert post(service, data=bytes(4 * MIB), headers={"Content-Type": "application/dicom"}).ok
    watching = False
    assert not written


def _writes(event, arguments):
    """Whether a file is opened by name for writing; descriptors are of memory files and sockets."""
    path, _, flags = arguments if event == "open" else (0, "", 0)
    # A process that starts, such as the decoder's, opens the null device.
    if isinstance(path, int) or str(path) == os.devnull:
        return False
    return flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)


def test_no_log_line_names_a_patient_or_a_file(service, image, caplog):
    caplog.set_level("DEBUG")
    caplog.clear()
    broken = image.read_bytes()[:-30_000]
    names = ("Nightingale^Florence.dcm", "1820-05-12.dcm")
    for content in (image.read_bytes(), broken, b"Florence" * 40):
        assert post(service, files=[("files", (name, content)) for name in names]).ok
    requests.get(f"{service}/v1/Nightingale?PLANTED-4711", timeout=10)
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert any('"route": "/v1/predict"' in line for line in lines)
    found = [line for line in lines for word in WORDS_OF_IDENTITY if word in line]
    assert not found


def test_headers_keep_browsers_from_doing_anything_with_an_answer(service):
    for path in ("/v1/model", "/nothing-here", "/health", "/docs", "/docs/files/swagger-ui.css"):
        headers = requests.get(service + path, timeout=10).headers
        if path == "/nothing-here":
            continue
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert requests.get(f"{service}/v1/model", timeout=10).headers["Cache-Control"] == "no-store"
