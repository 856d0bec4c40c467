"""The drop zone: its limits, its memory, and its end with the visitor."""

import asyncio
import gc
import http.client
import os
import re
import weakref
from pathlib import Path

import pytest
from api_helpers import zipped
from fastapi import FastAPI
from fastapi.testclient import TestClient
from nicegui import Client, app
from nicegui.page import page

from covid_monai.api.uploads import Limits, MemoryBudget, Upload, unpack_all
from covid_monai.app.widgets import dropzone
from covid_monai.app.widgets.dropzone import Dropzone

MIB = 1 << 20


def visit() -> TestClient:
    """Serve NiceGUI's routes without starting its application, to which other tests still add middleware."""
    return TestClient(FastAPI(routes=app.routes))


def test_dropzone_is_gone_with_its_visitor():
    """FastAPI keeps handlers in caches of its own, beyond their routes."""

    class Visitor:
        def __init__(self):
            self.files = []
            self.zone = Dropzone(Limits(), MemoryBudget(1000), on_files=self.take)

        def take(self, dropped):
            self.files += dropped.uploads

    client = Client(page("/for-this-test"), request=None)
    with client:
        visitor = Visitor()
    address = visitor.zone.props["url"]
    answer = visit().post(address, content=b"an image", headers={"X-File-Name": "image.dcm"})
    assert answer.json() == {"files": 1}
    assert visitor.files == [Upload("image.dcm", b"an image")]
    left = weakref.ref(visitor)
    client.delete()
    del visitor, client
    gc.collect()
    assert left() is None
    assert address not in {getattr(route, "path", "") for route in app.routes}


def test_no_archive_is_inflated_in_the_event_loop(monkeypatch):
    def watched(*arguments):
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        yield from unpack_all(*arguments)

    monkeypatch.setattr(dropzone, "unpack_all", watched)
    client, taken = Client(page("/for-this-test-too"), request=None), []
    with client:
        zone = Dropzone(Limits(), MemoryBudget(1000), on_files=lambda event: taken.extend(event.uploads))
    archive = zipped([("1.dcm", b"first"), ("2.dcm", b"second")])
    assert visit().post(zone.props["url"], content=archive).json() == {"files": 2}
    assert [upload.data for upload in taken] == [b"first", b"second"]
    client.delete()


def post(server, body, **headers) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", server.upload_path(), body=body, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def written(process: int) -> int:
    """Bytes that a process has caused to be written to any disk."""
    counters = Path(f"/proc/{process}/io").read_text()
    return int(re.search(r"^write_bytes: (\d+)", counters, re.MULTILINE)[1])


@pytest.mark.slow
def test_a_body_that_says_it_is_too_large_is_refused_before_any_byte_of_it_came(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", server.upload_path())
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    assert connection.getresponse().status == 413


@pytest.mark.slow
def test_a_body_that_does_not_say_its_length_is_refused_when_it_is_too_large(server):
    def pieces():
        for _ in range(20):
            yield bytes(MIB)

    try:
        status = post(server, pieces())
    except (BrokenPipeError, ConnectionResetError):  # the server may close before all is sent
        status = 413
    assert status == 413


@pytest.mark.slow
def test_nothing_of_an_upload_is_written_to_a_disk(server, tmp_path):
    before = written(os.getpid())
    (tmp_path / "file").write_bytes(bytes(7 * MIB))
    assert written(os.getpid()) - before >= 7 * MIB, "this counter counts nothing here"
    before, files = written(server.process.pid), set(server.temporary.rglob("*"))
    assert post(server, b"\x00" * (7 * MIB), **{"X-File-Name": "secret-image.dcm"}) == 200
    assert written(server.process.pid) - before < MIB
    assert set(server.temporary.rglob("*")) == files
    assert "secret" not in server.log.read_text()
