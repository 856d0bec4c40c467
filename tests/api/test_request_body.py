"""The body of a request: each type, in pieces, limited in size, in time and by the memory of all requests."""

import asyncio
import gc
import gzip
import json
import time

import pytest
from api_helpers import LIMITS, connected, jpeg, post, problem, serving, zipped
from pacs_helpers import wait_until
from urllib3.filepost import encode_multipart_formdata

from covid_monai.api.application import create_api
from covid_monai.api.problems import ProblemError
from covid_monai.api.request_body import (
    ACCEPTED,
    DICOM_JSON,
    JSON,
    RAW_TYPES,
    body_of_type,
    file_body,
    read_body,
)
from covid_monai.api.server import ServiceSettings
from covid_monai.api.uploads import MIB, LimitExceeded, Limits, MemoryBudget, OutOfMemoryBudget, Upload


@pytest.mark.parametrize("kind", ["application/dicom", "image/jpeg", "application/octet-stream"])
def test_one_file_may_be_the_body(service, image, kind):
    content = jpeg() if kind == "image/jpeg" else image.read_bytes()
    (record,) = post(service, data=content, headers={"Content-Type": kind}).json()["predictions"]
    assert (record["file"], record["status"]) == ("body", "ok")


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


@pytest.mark.slow
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


# -- the functions -------------------------------------------------------------------------------------------

ADDRESS = "http://pacs.example/studies/1.2/series/1.3/instances/1.4"


class Sent:
    """A request as `read_body` uses it: headers, and a body in pieces."""

    def __init__(self, *pieces, **headers):
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.left = list(pieces)

    async def stream(self):
        while self.left:
            yield self.left.pop(0)


def fetched(addresses):
    return [Upload(address, b"fetched") for address in addresses]


def read(sent, body, *, limits=LIMITS, budget=None, seconds=5):
    return asyncio.run(read_body(sent, body, limits, budget or MemoryBudget(MIB), seconds=seconds))


@pytest.mark.parametrize("kind", RAW_TYPES)
def test_a_body_of_pieces_is_one_file_and_counts_as_long_as_it_is_held(kind):
    budget = MemoryBudget(MIB)
    body = body_of_type(f" {kind.upper()} ; charset=x", LIMITS, fetched)
    (upload,) = read(Sent(b"ab", b"", b"cd"), body, budget=budget)
    assert (upload.name, upload.data) == ("body", b"abcd")
    assert budget.held == 4
    del upload
    # The thread that made it ends a moment later, and asyncio may leave it in a cycle of references.
    for _ in range(100):
        gc.collect()
        if budget.held == 0:
            break
        time.sleep(0.05)
    assert budget.held == 0


def test_addresses_are_fetched_in_order_and_not_counted_before():
    budget = MemoryBudget(MIB)
    one = body_of_type(JSON, LIMITS, fetched)
    assert [each.name for each in read(Sent(json.dumps({"dicomweb_url": ADDRESS}).encode()), one)] == [
        ADDRESS
    ]
    instances = [{"00081190": {"vr": "UR", "Value": [ADDRESS + end]}} for end in (".2", ".1")]
    several = body_of_type(DICOM_JSON, LIMITS, lambda addresses: iter(fetched(addresses)))
    uploads = read(Sent(json.dumps(instances).encode()), several, budget=budget)
    assert budget.held == 0
    assert [each.name for each in uploads] == [ADDRESS + ".2", ADDRESS + ".1"]


@pytest.mark.parametrize(
    ("kind", "content", "field"),
    [
        (JSON, b"{}", "dicomweb_url"),
        (JSON, b"no json", "body"),
        (JSON, b'{"dicomweb_url": "file:///Doe"}', "dicomweb_url"),
        (DICOM_JSON, b"{}", "body"),
        (DICOM_JSON, b'[{"00081190": {"vr": "UR", "Value": []}}]', "0.00081190.Value"),
    ],
)
def test_an_invalid_field_is_named_and_its_value_is_not(kind, content, field):
    with pytest.raises(ProblemError) as caught:
        read(Sent(content), body_of_type(kind, LIMITS, fetched))
    assert caught.value.kind == "invalid"
    assert caught.value.errors[0].field == field
    assert "Doe" not in caught.value.detail


@pytest.mark.parametrize("kind", ["", "text/plain", "image/gif", "application/dicomx", "dicom"])
def test_an_unknown_type_is_told_which_are_known(kind):
    with pytest.raises(ProblemError) as caught:
        body_of_type(kind, LIMITS, fetched)
    assert caught.value.kind == "unsupported-type"
    assert caught.value.headers == {"Accept-Post": ", ".join(ACCEPTED)}
    assert all(each in caught.value.detail for each in ACCEPTED)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip", " GZIP "])
def test_any_content_encoding_but_identity_is_refused(encoding):
    with pytest.raises(ProblemError, match="Content-Encoding"):
        read(Sent(b"x", content_encoding=encoding), file_body("a", LIMITS))
    assert read(Sent(b"x", content_encoding=" Identity "), file_body("a", LIMITS))


def test_a_length_beyond_the_limit_is_refused_before_the_body_and_the_rest_is_read_away():
    small = Limits(10, max_files=1, max_total_bytes=10)
    sent = Sent(b"x" * 5, content_length="11")
    with pytest.raises(LimitExceeded):
        read(sent, file_body("a", small), limits=small)
    assert sent.left == []
    waiting = Sent(b"x" * 5, content_length="11", expect="100-continue")
    with pytest.raises(LimitExceeded):
        read(waiting, file_body("a", small), limits=small)
    assert waiting.left == [b"x" * 5]  # such a client sends nothing before it is told to


def test_what_was_read_of_a_refused_body_is_freed():
    budget = MemoryBudget(8)
    body = file_body("a", LIMITS)
    with pytest.raises(OutOfMemoryBudget):
        read(Sent(b"12345", b"67890"), body, budget=budget)
    assert budget.held == 0
    with pytest.raises(ValueError, match="closed"):
        body.write(b"more")


def test_a_body_that_never_ends_is_too_slow_and_the_connection_is_closed():
    class Endless(Sent):
        async def stream(self):
            yield b"x"
            await asyncio.sleep(60)

    with pytest.raises(ProblemError) as caught:
        read(Endless(expect="100-continue"), file_body("a", LIMITS), seconds=0.05)
    assert (caught.value.kind, caught.value.headers) == ("too-slow", {"Connection": "close"})
    assert "0.05 s" in caught.value.detail
