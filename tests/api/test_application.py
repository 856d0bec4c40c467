"""The REST service over a real socket, with tight limits: what it accepts, refuses and leaves behind."""

import gzip
import io
import json
import os
import struct
import sys
import time
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from api_helpers import connected, in_process, jpeg, post, problem, serving, zipped
from dicom_helpers import make_ds, picture, save
from pacs_helpers import IDENTITY, WORDS_OF_IDENTITY, dripping, wait_until
from pydicom.uid import DeflatedExplicitVRLittleEndian
from urllib3.filepost import encode_multipart_formdata

from covid_monai.api.application import create_api
from covid_monai.api.engine import Engine
from covid_monai.api.problems import KINDS
from covid_monai.api.server import ServiceSettings
from covid_monai.api.uploads import MIB, Limits, MemoryBudget
from covid_monai.core.json_log import JsonFormatter
from covid_monai.core.vocabulary import RESEARCH_USE

LIMITS = Limits(4 * MIB, max_files=5, max_total_bytes=6 * MIB, max_held_bytes=10 * MIB)


SETTINGS = ServiceSettings(limits=LIMITS, body_seconds=2.0)


@pytest.fixture(scope="module")
def engine(classifier):
    engine = Engine(classifier, max_callers=60)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def service(engine):
    with in_process(engine, SETTINGS) as url:
        yield url


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "Nightingale^Florence.dcm"
    return save(make_ds(picture(200, 200), **IDENTITY), path)


def test_many_files_and_a_zip_get_the_records_of_predict_in_order(service, engine, image):
    files = [
        ("files", ("a.dcm", image.read_bytes())),
        ("files", ("all.zip", zipped([("x/b.jpg", jpeg()), ("c.png", b"no picture")]))),
        ("files", ("../../d.jpg", jpeg())),
    ]
    answer = post(service, files=files)
    records = answer.json()["predictions"]
    assert [(one["file"], one["status"]) for one in records] == [
        ("a.dcm", "ok"),
        ("b.jpg", "ok"),
        ("c.png", "error"),
        ("d.jpg", "ok"),
    ]
    (expected,) = engine.classifier.predict([image])
    assert records[0] == {**json.loads(json.dumps(expected.to_json())), "file": "a.dcm"}
    assert list(records[0]) == list(expected.to_json())
    assert answer.json()["notice"] == answer.headers["X-Research-Use"] == RESEARCH_USE


@pytest.mark.parametrize("kind", ["application/dicom", "image/jpeg", "application/octet-stream"])
def test_one_file_may_be_the_body(service, image, kind):
    content = jpeg() if kind == "image/jpeg" else image.read_bytes()
    (record,) = post(service, data=content, headers={"Content-Type": kind}).json()["predictions"]
    assert (record["file"], record["status"]) == ("body", "ok")


def test_a_report_is_a_page_or_an_object_of_the_images_study(service, image):
    from pydicom import dcmread

    uid = dcmread(image).StudyInstanceUID
    for form, modality in (("sr", "SR"), ("heatmap", "OT")):
        answer = post(service, f"/v1/report?form={form}", files={"files": image.open("rb")})
        assert answer.headers["Content-Type"] == "application/dicom", answer.text
        ds = dcmread(io.BytesIO(answer.content))
        assert (ds.StudyInstanceUID, ds.Modality) == (uid, modality)
    for content in (image.read_bytes(), jpeg(), b"no image at all"):
        page = post(service, "/v1/report", files={"files": ("a", content)})
        assert (page.headers["Content-Type"], page.content[:4]) == ("application/pdf", b"%PDF")


def test_what_has_no_report_says_why(service):
    hand = io.BytesIO()
    make_ds(picture(), BodyPartExamined="HAND").save_as(hand, enforce_file_format=True)
    answer = post(service, "/v1/report?form=sr", files={"files": ("hand.dcm", hand.getvalue())})
    assert "not_a_chest" in problem(answer, "no-result")["detail"]
    problem(post(service, "/v1/report?form=sr", files={"files": ("a.jpg", jpeg())}), "no-result")
    two = [("files", ("a", b"1")), ("files", ("b", b"2"))]
    assert problem(post(service, "/v1/report", files=two), "invalid")["errors"][0]["field"] == "files"
    assert problem(post(service, "/v1/report?form=x"), "invalid")["errors"][0]["field"] == "query.form"


def test_model_and_health_say_what_they_are(service, engine):
    model = requests.get(f"{service}/v1/model", timeout=10).json()
    assert model["model"] == engine.classifier.model
    assert model["class_names"] == list(engine.classifier.class_names)
    assert model["limits"]["max_total_bytes"] == LIMITS.max_total_bytes
    assert model["notice"] == RESEARCH_USE
    assert requests.get(f"{service}/health", timeout=10).json()["status"] == "live"
    assert requests.get(f"{service}/health/ready", timeout=10).json()["status"] == "ready"


def test_bodies_that_are_not_what_they_say_are_told_apart(service):
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    problem(post(service, data=b"x", headers={"Content-Type": "text/plain"}), "unsupported-type")
    problem(post(service, data=b"nothing of the kind", headers=form), "malformed")
    problem(post(service, data=b"x", headers={"Content-Type": "multipart/form-data"}), "malformed")
    body, _ = encode_multipart_formdata([("files", ("a", b"b"))], boundary="x")
    problem(post(service, data=body[:-6], headers=form), "malformed")
    assert problem(post(service, files={"other": b"1"}), "invalid")["errors"][0]["field"] == "files"
    broken = zipped([("a.dcm", b"image" * 50)])[:-30]
    assert (
        "images.zip" in problem(post(service, files={"files": ("images.zip", broken)}), "invalid")["detail"]
    )
    answer = post(service, data=b"x", headers={"Content-Type": "text/plain"})
    assert "application/dicom" in answer.headers["Accept-Post"]


def test_what_the_framework_refuses_is_a_problem_too(service):
    for method, path, status in (
        ("GET", "/no", 404),
        ("GET", "/v1/predict", 405),
        ("GET", "/problems/no", 404),
    ):
        answer = requests.request(method, service + path, timeout=10)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert (answer.status_code, answer.json()["type"]) == (status, "about:blank")
    assert requests.get(f"{service}/v1/predict", timeout=10).headers["Allow"] == "POST"
    for kind in KINDS:
        assert KINDS[kind].meaning in requests.get(f"{service}/problems/{kind}", timeout=10).text


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


def test_too_much_is_refused_while_it_comes_whatever_the_header_says(service):
    def chunks(size):
        for _ in range(size // 65536):
            yield bytes(65536)

    dicom = {"Content-Type": "application/dicom"}
    for body in (bytes(5 * MIB), chunks(5 * MIB), chunks(50 * MIB)):  # with a length, and without one
        assert "4 MiB" in problem(post(service, data=body, headers=dicom), "too-large")["detail"]
    many = [("files", (f"{number}.dcm", b"1")) for number in range(6)]
    assert "5 files" in problem(post(service, files=many), "too-large")["detail"]
    together = [("files", (f"{number}.dcm", bytes(3 * MIB))) for number in range(3)]
    assert "6 MiB" in problem(post(service, files=together), "too-large")["detail"]
    problem(post(service, data=b" " * (5 * MIB), headers={"Content-Type": "application/json"}), "too-large")


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


def test_a_body_that_drips_is_given_up(service):
    head = "Content-Type: application/dicom\r\nContent-Length: 1000"
    with connected(service, head) as line:
        begin, answer = time.monotonic(), b""
        while not answer and time.monotonic() - begin < 15:
            line.sendall(b"x")
            line.settimeout(0.2)
            try:
                answer = line.recv(4096)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert 1 < time.monotonic() - begin < 10


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


def test_a_compressed_body_is_refused_with_what_to_send(service):
    headers = {"Content-Type": "application/dicom", "Content-Encoding": "gzip"}
    answer = post(service, data=gzip.compress(bytes(1000)), headers=headers)
    assert "Content-Encoding" in problem(answer, "unsupported-type")["detail"]
    assert answer.headers["Accept-Encoding"] == "identity"


def test_memory_in_use_by_others_is_told_with_a_time_to_come_back(engine, image):
    settings = ServiceSettings(limits=LIMITS, body_seconds=30)
    head = f"Content-Type: application/dicom\r\nContent-Length: {3 * MIB}"
    budget = MemoryBudget(2 * MIB)
    with serving(create_api(engine, settings, budget)) as url:
        with connected(url, head, bytes(MIB * 3 // 2)):
            wait_until(lambda: budget.held == MIB * 3 // 2, seconds=20, what="the body has arrived so far")
            answer = post(url, files={"files": bytes(MIB)})
            problem(answer, "busy")
            assert int(answer.headers["Retry-After"]) > 0
        wait_until(
            lambda: post(url, files={"files": image.open("rb")}).ok,
            seconds=20,
            what="memory is free after it has gone",
        )


def test_one_request_too_many_is_told_to_come_back(classifier, image):
    engine = Engine(classifier, max_callers=1)
    try:
        with in_process(engine, SETTINGS) as url, engine._caller():
            answer = post(url, files={"files": image.open("rb")})
            problem(answer, "busy")
            assert int(answer.headers["Retry-After"]) > 0
            assert requests.get(f"{url}/health/ready", timeout=10).status_code == 503
            assert requests.get(f"{url}/health", timeout=10).ok
    finally:
        engine.close()


def test_a_client_that_goes_away_has_nothing_more_done_for_it(engine, image, caplog):
    caplog.set_level("INFO", "covid_monai.api")
    body, kind = encode_multipart_formdata([("files", ("a.dcm", image.read_bytes()))] * 5)
    slow = ServiceSettings(limits=LIMITS)
    with in_process(engine, slow) as url:
        with connected(url, f"Content-Type: {kind}\r\nContent-Length: {len(body)}", body):
            pass
        with connected(url, f"Content-Type: {kind}\r\nContent-Length: {len(body)}", body[:2000]):
            pass
        wait_until(
            lambda: [one.status for one in caplog.records if one.msg == "answered"] == [499, 499],
            seconds=30,
            what="both are noticed",
        )
        assert post(url, files={"files": image.open("rb")}).ok


def test_no_upload_is_written_to_a_disk(service, image):
    written = []

    def watch(event, arguments):
        if watching and (event.startswith(("tempfile.", "shutil.")) or _writes(event, arguments)):
            written.append((event, *map(str, arguments)))

    watching = True
    sys.addaudithook(watch)
    with Path(os.devnull).open("w"):
        assert written.pop()[1] == os.devnull  # the watch sees what it is to see
    files = [("files", ("a.dcm", image.read_bytes())), ("files", ("b.dcm", bytes(2 * MIB)))]
    packed = ("files", ("c.zip", zipped([("d.dcm", image.read_bytes()), ("e.dcm", bytes(2 * MIB))])))
    assert post(service, files=[*files, packed]).ok
    assert post(service, data=bytes(4 * MIB), headers={"Content-Type": "application/dicom"}).ok
    watching = False
    assert not written


def _writes(event, arguments):
    """Whether a file is opened by name for writing; descriptors are of memory files and sockets."""
    path, _, flags = arguments if event == "open" else (0, "", 0)
    return not isinstance(path, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)


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


def test_a_failure_of_our_own_is_a_problem_that_tells_nothing_of_the_image(
    engine, image, caplog, monkeypatch
):
    def fail(*_):
        raise LookupError("Nightingale^Florence")

    monkeypatch.setattr("covid_monai.api.routes.Record.model_validate", fail)
    with in_process(engine, SETTINGS) as url:
        body = problem(post(url, files={"files": image.open("rb")}), "unexpected")
    assert "LookupError" in body["detail"]
    assert "Florence" not in str(body)
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert any("LookupError" in line for line in lines)
    assert not any("Florence" in line for line in lines)


def test_headers_keep_browsers_from_doing_anything_with_an_answer(service):
    for path in ("/v1/model", "/nothing-here", "/health", "/docs", "/docs/files/swagger-ui.css"):
        headers = requests.get(service + path, timeout=10).headers
        if path == "/nothing-here":
            continue
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert requests.get(f"{service}/v1/model", timeout=10).headers["Cache-Control"] == "no-store"


def test_on_loopback_other_host_names_get_nothing(service, engine):
    port = urlsplit(service).port
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "[::2]", "x y", ""):
        answer = requests.get(f"{service}/v1/model", headers={"Host": host}, timeout=10)
        assert answer.status_code in (400, 421), host
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    headers = {**upgrade, "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==", "Host": "evil.example"}
    assert requests.get(f"{service}/socket", headers=headers, timeout=10).status_code in (403, 421)
    for host in ("localhost", f"LOCALHOST:{port}", f"127.0.0.1:{port}", "[::1]:1"):
        assert requests.get(f"{service}/v1/model", headers={"Host": host}, timeout=10).ok, host
    with in_process(engine, ServiceSettings(loopback=False)) as url:
        assert requests.get(f"{url}/v1/model", headers={"Host": "covid-monai.example"}, timeout=10).ok


def test_the_page_of_the_description_asks_no_other_server(service):
    page = requests.get(f"{service}/docs", timeout=10).text
    description = requests.get(f"{service}/openapi.json", timeout=10).json()
    assert "http://" not in page
    assert "https://" not in page
    assert '"validatorUrl": null' in page
    for file in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"/docs/files/{file}" in page
        assert requests.get(f"{service}/docs/files/{file}", timeout=10).ok
    assert RESEARCH_USE in description["info"]["description"]
