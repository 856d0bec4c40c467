"""A real Orthanc, a proxy that changes its answers, the worker as a process, and questions to them."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage

from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES
from covid_monai.phantoms.file_formats import PhantomPatient, radiograph_dataset
from covid_monai.phantoms.radiograph import draw_radiograph
from covid_monai.worker.queue import JobQueue, lock_state_dir

ROOT = Path(__file__).parents[1]
_COMMAND = Path(sys.executable).parent / "covid-monai"
AT_ONCE = os.environ | {"TCP_NODELAY": "1"}  # DCMTK would wait for more to send: 90 ms a message
NEEDS_ORTHANC = pytest.mark.skipif(
    None in map(shutil.which, ("Orthanc", "storescu", "findscu")),
    reason="needs Orthanc and DCMTK (apt-get install orthanc orthanc-dicomweb orthanc-gdcm dcmtk)",
)
IDENTITY = {
    "PatientName": "Nightingale^Florence",
    "PatientID": "PLANTED-4711",
    "PatientBirthDate": "18200512",
    "AccessionNumber": "ACC-998877",
}
WORDS_OF_IDENTITY = ("Nightingale", "Florence", "PLANTED-4711", "18200512", "1820-05-12", "ACC-998877")


SR, SC = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.7"


MULTIPART = 'multipart/related; type="application/dicom"; boundary=xyz'


def multipart_body(content, boundary=b"xyz"):
    """A multipart/related message with one part."""
    head = b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n"
    return head + content + b"\r\n--" + boundary + b"--\r\n"


def in_pieces(body, size):
    return [body[start : start + size] for start in range(0, len(body), size)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, *, seconds, every=0.1, what="condition"):
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"{what} not met in {seconds} s")
        time.sleep(every)
    return found


def images(folder, count, *, size=256, seed=0):
    """Write CR and DX phantoms with a planted identity; return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [
        draw_radiograph(name, seed=index, size=size) for index, name in enumerate(DEFAULT_CLASS_NAMES * 2)
    ]
    files = []
    for number in range(count):
        patient = PhantomPatient(patient_id=f"P{number}", sex="F", age=50, seed=seed * 10_000 + number)
        image = drawn[number % len(drawn)]
        ds = radiograph_dataset(image, patient, number=1, view="PA", inverted=number % 2 == 1)
        files.append(planted(ds, folder / f"image{number:04d}.dcm"))
    return files


def planted(ds, path):
    """Give a dataset the identity that no output may show, and save it."""
    for keyword, value in IDENTITY.items():
        setattr(ds, keyword, value)
    ds.save_as(path)
    return path


def ineligible(folder, count=4, *, size=256):
    """Write lateral images, knees, CT slices and secondary captures in turn; return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    image = draw_radiograph("normal", seed=99, size=size)
    changes = (
        {"ViewPosition": "LL"},
        {"BodyPartExamined": "KNEE"},
        {"Modality": "CT", "SOPClassUID": CTImageStorage},
        {"Modality": "OT", "SOPClassUID": SecondaryCaptureImageStorage},
    )
    files = []
    for number in range(count):
        patient = PhantomPatient(patient_id=f"X{number}", sex="M", age=60, seed=90_000 + number)
        ds = radiograph_dataset(image, patient, number=1, view="PA")
        for keyword, value in changes[number % len(changes)].items():
            setattr(ds, keyword, value)
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        files.append(planted(ds, folder / f"other{number:04d}.dcm"))
    return files


def of(archive, **settings):
    """Settings of an archive."""
    url = getattr(archive, "url", archive)
    return {
        "name": "main",
        "source": "orthanc",
        "url": url,
        "start": "beginning",
        "poll_seconds": 0.3,
        **settings,
    }


def class_of(orthanc, found):
    return orthanc.get(f"/instances/{found['ID']}/metadata/SopClassUid").decode()


class Orthanc:
    """Debian's Orthanc in a folder of its own; may be stopped and started again."""

    def __init__(self, folder, **settings):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.http, self.dimse = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        plugins = [
            str(path)
            for name in ("libOrthancDicomWeb.so", "libOrthancGdcm.so")
            if (path := Path("/usr/share/orthanc/plugins") / name).is_file()
        ]
        content = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": self.http,
            "DicomPort": self.dimse,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "UnknownSopClassAccepted": True,
            "RemoteAccessAllowed": False,
            "StableAge": 1,
            "Plugins": plugins,
            **settings,
        }
        (folder / "orthanc.json").write_text(json.dumps(content))
        self.start()

    def start(self):
        with (self.folder / "orthanc.log").open("a") as log:
            self.process = subprocess.Popen(
                ["Orthanc", self.folder / "orthanc.json"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=AT_ONCE,
            )
        wait_until(self._answers, seconds=60, what="Orthanc's start")

    def _answers(self):
        assert self.process.poll() is None, (self.folder / "orthanc.log").read_text()[-2000:]
        try:
            return self.get("/system")
        except (urllib.error.HTTPError, urllib.error.URLError, ConnectionError):
            return None

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)

    def get(self, path, *, data=None, method=None):
        request = urllib.request.Request(self.url + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            body = response.read()
        return json.loads(body) if body[:1] in (b"{", b"[", b'"') else body

    def find(self, **query):
        body = json.dumps({"Level": "Instance", "Query": query, "Expand": True}).encode()
        return self.get("/tools/find", data=body)

    def results(self):
        return self.find(ManufacturerModelName="covid-monai results")

    def file(self, instance, path):
        path.write_bytes(self.get(f"/instances/{instance}/file"))
        return path

    def send(self, files, *, aet="CR1"):
        """By DIMSE, as a modality does."""
        command = ["storescu", "-xe", "-aet", aet, "-aec", "ORTHANC"]
        for start in range(0, len(files), 60):
            names = list(map(str, files[start : start + 60]))
            command_line = [*command, "127.0.0.1", str(self.dimse), *names]
            subprocess.run(command_line, check=True, timeout=120, env=AT_ONCE)


def read_body(handler):
    """The body of a request, in one piece or in chunks."""
    if "chunked" not in handler.headers.get("Transfer-Encoding", ""):
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    pieces = []
    while size := int(handler.rfile.readline(), 16):
        pieces.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(pieces)


TODAY = f"{datetime.now().astimezone():%Y%m%d}"
_KEYWORDS_BY_TAG = {
    "0020000D": "StudyInstanceUID",
    "0020000E": "SeriesInstanceUID",
    "00080018": "SOPInstanceUID",
    "00080016": "SOPClassUID",
    "00080060": "Modality",
    "00080020": "StudyDate",
}


def found_image(number, **values):
    values = {
        "StudyInstanceUID": f"1.1.{number}",
        "SeriesInstanceUID": f"1.2.{number}",
        "SOPInstanceUID": f"1.3.{number}",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
        "Modality": "CR",
        "StudyDate": TODAY,
        **values,
    }
    return {
        tag: {"vr": "LO", "Value": [values[name]]}
        for tag, name in _KEYWORDS_BY_TAG.items()
        if values[name] is not None
    }


class SearchServer(ThreadingHTTPServer):
    """Archive of images; `habits` say how its answers differ from what the standard asks."""

    daemon_threads = True

    def __init__(self, images, **habits):
        super().__init__(("127.0.0.1", 0), _SearchHandler)
        self.images, self.habits, self.queries = list(images), habits, []
        self.older = []  # days of the searches for studies
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def page(self, query):
        has = self.habits.get
        found = self.images
        if not has("ignores_date") and "StudyDate" in query:
            first, _, last = query["StudyDate"].partition("-")
            last = last or (first if "-" not in query["StudyDate"] else "9")
            found = [one for one in found if first <= one["00080020"]["Value"][0] <= last]
        if not has("ignores_modality") and "Modality" in query:
            found = [one for one in found if one["00080060"]["Value"][0] == query["Modality"]]
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 10**6))
        if has("endless"):
            return [found_image(offset + number) for number in range(limit)]
        found = found[0 if has("ignores_offset") else offset :]
        return found[: min(limit, has("cap", limit))] if not has("ignores_limit") else found


class _SearchHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        query = dict(parse_qsl(urlsplit(self.path).query))
        if urlsplit(self.path).path == "/studies":
            self.server.older.append(query["StudyDate"])
        else:
            self.server.queries.append(query)
        page, has = self.server.page(query), self.server.habits.get
        status = 200 if page else has("nothing", 200)
        body = has("body") or (b"" if status == 204 else json.dumps(page).encode())
        self.send_response(status)
        self.send_header("Content-Type", has("kind", "application/dicom+json"))
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Warning", '299 archive: "There are additional results"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body go out apart, and the second would wait 40 ms

    def handle_request(self):
        body = read_body(self)
        self.server.owner.seen.append((self.command, self.path))
        if not self.server.owner.spoil(self):
            self.forward(body)

    do_GET = do_POST = do_PUT = handle_request  # noqa: N815

    def forward(self, body=b"", *, cut=None):
        try:
            connection = http.client.HTTPConnection(
                self.server.owner.target.hostname, self.server.owner.target.port, timeout=60
            )
            kept = ("accept", "content-type", "authorization")
            headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
        except OSError:
            return self.answer(502)
        kind = answer.headers.get("Content-Type", "application/octet-stream")
        return self.answer(answer.status, content, kind=kind, cut=cut)

    def answer(self, status, content=b"", *, kind="text/plain", cut=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if cut is None else content[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, *arguments):
        pass


class Proxy:
    """Proxy before an archive; `spoil(handler)` may answer in its place and returns whether it did."""

    def __init__(self, target):
        self.target = urlsplit(target)
        self.spoil = lambda _: False
        self.seen = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _ProxyHandler)
        self.server.owner = self
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Worker:
    """The worker as a process, with its configuration and its output."""

    def __init__(self, folder, *archives, **settings):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.state = folder, Path(settings.pop("state_dir", folder / "state"))
        self.port = free_port()
        self.config = folder / "worker.yaml"
        content = {
            "state_dir": str(self.state),
            "audit": {"file": str(folder / "audit.jsonl")},
            "monitoring": {"port": self.port},
            "limits": {"longest_wait_seconds": 2, "attempts": 2, "stop_seconds": 15},
            "archives": list(archives),
            **settings,
        }
        self.config.write_text(yaml.safe_dump(content))
        self.process = None
        self.log = folder / "worker.log"

    @property
    def environment(self):
        return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def command(self, *arguments):
        """Run another command with the same configuration; return the finished process."""
        command = [_COMMAND, "worker", *arguments, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=180)

    def start(self, *, ready=True):
        command = [_COMMAND, "worker", "--config", str(self.config)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=self.environment)
        if ready:
            wait_until(self.health, seconds=120, what="the worker's start")

    def health(self):
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as response:
            return response.read().decode()

    def metric(self, name, **labels):
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [line for line in self.metrics().splitlines() if line.startswith(f"covid_monai_{name}")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(label in line for label in wanted))

    def kill(self):
        self.process.kill()
        self.process.wait(timeout=30)

    def stop(self):
        """Stop it with SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=40)

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def audit(self):
        path = self.folder / "audit.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def assert_names_nobody(self, *more):
        """No output holds a word of the planted identity."""
        files = [self.log, *self.folder.glob("audit.jsonl*")]
        for text in [*(path.read_text() for path in files), *more]:
            found = [word for word in WORDS_OF_IDENTITY if word.lower() in text.lower()]
            assert not found


def memory_mib(process):
    import psutil

    return psutil.Process(process.pid).memory_info().rss / 2**20


def wait_for_answers(orthanc, count, *, seconds):
    wait_until(lambda: len(orthanc.find(SOPClassUID=SR)) >= count, seconds=seconds, what=f"{count} reports")


def queue_of(worker):
    with lock_state_dir(worker.state):
        return JobQueue(worker.state)


@contextmanager
def dripping(start):
    """Serve answers that begin with `start`, and then send one byte after another for ever; gives the URL."""

    def answer(line):
        with suppress(OSError), line:
            line.recv(65536)
            line.sendall(start)
            while start and not ended.wait(0.05):
                line.sendall(b"1")
            ended.wait(30)

    def accept():
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        ended.set()
