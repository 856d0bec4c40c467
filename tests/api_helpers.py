"""The REST service as tests run it: in this process with limits of their own, and as a process."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests
import uvicorn
from dicom_helpers import picture
from pacs_helpers import ROOT, wait_until
from PIL import Image

from covid_monai.api.application import create_api
from covid_monai.api.problems import KINDS
from covid_monai.api.server import ServiceSettings, address_of, listen, server_config
from covid_monai.api.uploads import MIB, Limits, MemoryBudget
from covid_monai.core.vocabulary import RESEARCH_USE

COMMAND = Path(sys.executable).parent / "covid-monai"
LIMITS = Limits(4 * MIB, max_files=5, max_total_bytes=6 * MIB, max_held_bytes=10 * MIB)
SETTINGS = ServiceSettings(limits=LIMITS, body_seconds=2.0)


@contextmanager
def serving(app):
    """Serve an application in a thread; gives the address."""
    server = uvicorn.Server(server_config(app))
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield address_of(listening)
        finally:
            server.should_exit = True
            thread.join(30)


def in_process(engine, settings):
    """Serve the REST service in a thread; gives the address."""
    return serving(create_api(engine, settings, MemoryBudget(settings.limits.max_held_bytes)))


@contextmanager
def connected(service, head, body=b""):
    """Send a head and the beginning of a body; gives the socket."""
    parts = urlsplit(service)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as line:
        line.sendall(f"POST /v1/predict HTTP/1.1\r\nHost: {parts.netloc}\r\n{head}\r\n\r\n".encode() + body)
        yield line


class Served:
    """`covid-monai serve` as a process, with its log."""

    def __init__(self, folder, *arguments):
        self.log, self.words = folder / "serve.log", folder / "serve.out"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with self.log.open("w") as log, self.words.open("w") as words:
            self.process = subprocess.Popen(
                [COMMAND, "serve", "--port", "0", *map(str, arguments)],
                stdout=words, stderr=log, env={**environment, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        wait_until(self._said, seconds=120, what="the service's start")
        self.url = self.words.read_text().split()[2].rstrip(";")
        wait_until(lambda: requests.get(f"{self.url}/health", timeout=60).ok, seconds=60, what="health")

    def _said(self):
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        return "Serving at" in self.words.read_text()

    def stop(self, number=signal.SIGTERM):
        """End it; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        return self.process.returncode


def zipped(members, *, method=zipfile.ZIP_DEFLATED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return content.getvalue()


def jpeg(size=200):
    content = io.BytesIO()
    Image.fromarray(picture(size, size)).save(content, "JPEG")
    return content.getvalue()


def post(service, path="/v1/predict", **arguments):
    return requests.post(service + path, timeout=60, **arguments)


def problem(response, kind):
    """The problem of an answer, which must be of this kind and in the form of RFC 9457."""
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == f"/problems/{kind}", body
    assert body["status"] == response.status_code == KINDS[kind].status
    assert body["title"]
    assert body["detail"]
    assert body["notice"] == RESEARCH_USE
    return body
