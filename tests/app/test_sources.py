"""Images from a folder of the server and from a URL: only what is allowed, and within the limits."""

import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pacs_helpers import dripping

from covid_monai.api.uploads import (
    LimitExceeded,
    Limits,
    MemoryBudget,
    OutOfMemoryBudget,
    Upload,
    UploadError,
)
from covid_monai.app import sources
from covid_monai.app.sources import FetchError, fetch, folders_below, images_in

BUDGET = MemoryBudget(1 << 30)


class Answers(BaseHTTPRequestHandler):
    """A web server with an image, a redirect to it, a redirect elsewhere, and a body without end."""

    def do_GET(self):
        moved = {"/moved": "/image.png", "/away": "http://169.254.169.254/secret", "/loop": "/loop"}
        if self.path in moved:
            self.send_response(302)
            self.send_header("Location", moved[self.path])
            self.end_headers()
            return
        self.send_response(200 if self.path in ("/image.png", "/endless") else 404)
        self.end_headers()
        try:
            for _ in range(1 if self.path == "/image.png" else 10_000):
                self.wfile.write(b"image" * 1000)
        except OSError:
            pass

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_named_host_is_fetched_from_also_after_a_redirect(site):
    for path in ("/image.png", "/moved"):
        assert fetch(site + path, Limits(), BUDGET, {"127.0.0.1"}, seconds=20) == Upload(
            "image.png", b"image" * 1000
        )


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:1/x", "http://localhost/x", "http://[::1]/x", "http://10.0.0.1/x", "http://0/x"),
        *("http://169.254.169.254/latest/meta-data", "http://[::ffff:127.0.0.1]/x", "http://2130706433/"),
        *(
            "file:///etc/passwd",
            "ftp://example.org/x",
            "http://user:word@example.org/",
            "http://",
            "nonsense",
        ),
        *("http://example.org:nonsense/", "http://[bad/"),
    ],
)
def test_nothing_private_and_no_other_scheme_is_fetched(url):
    with pytest.raises(FetchError, match=r"private network|Give a URL|not a URL|No host"):
        fetch(url, Limits(), BUDGET, seconds=20)


def test_a_redirect_to_a_private_address_is_not_followed(site):
    with pytest.raises(FetchError, match="private network"):
        fetch(site + "/away", Limits(), BUDGET, {"127.0.0.1"}, seconds=20)
    with pytest.raises(FetchError, match="redirects"):
        fetch(site + "/loop", Limits(), BUDGET, {"127.0.0.1"}, seconds=20)
    with pytest.raises(FetchError, match="404"):
        fetch(site + "/nothing", Limits(), BUDGET, {"127.0.0.1"}, seconds=20)


def test_a_name_that_resolves_to_public_and_private_addresses_is_refused(monkeypatch):
    found = [(2, 1, 6, "", (address, 80)) for address in ("1.1.1.1", "192.168.0.1")]
    monkeypatch.setattr(sources.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(FetchError, match="private network"):
        fetch("http://both.example/", Limits(), BUDGET, seconds=20)


def test_a_body_without_end_is_not_read_to_its_end(site):
    with pytest.raises(LimitExceeded):
        fetch(site + "/endless", Limits(max_file_bytes=100_000), BUDGET, {"127.0.0.1"}, seconds=20)
    with pytest.raises(OutOfMemoryBudget):
        fetch(site + "/endless", Limits(), MemoryBudget(100_000), {"127.0.0.1"}, seconds=20)
    assert BUDGET.held == 0


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["header", "body"]
)
def test_a_file_that_drips_is_given_up_in_time(start):
    with dripping(start) as url:
        begin = time.monotonic()
        with pytest.raises(FetchError, match=r"did not send the whole file in 1 s.*--fetch-seconds"):
            fetch(url, Limits(), BUDGET, {"127.0.0.1"}, seconds=1)
        assert time.monotonic() - begin < 3
    assert BUDGET.held == 0


def test_only_what_lies_below_the_folder_can_be_chosen(tmp_path):
    root, outside = tmp_path / "images", tmp_path / "outside"
    for folder in (root / "ward" / "deep", root / ".hidden", outside):
        folder.mkdir(parents=True)
        (folder / "image.png").write_bytes(b"image")
    (root / "escape").symlink_to(outside)
    (root / "ward" / "linked.png").symlink_to(outside / "image.png")
    assert folders_below(root) == [".", "escape", "ward", "ward/deep"]
    (file,) = images_in(root, "ward", Limits(), BUDGET)
    assert file.load() == Upload("ward/deep/image.png", b"image")
    for chosen in ("..", "../outside", "/etc", str(outside), "escape", "missing", "ward/deep/image.png"):
        with pytest.raises(UploadError):
            images_in(root, chosen, Limits(), BUDGET)
    with pytest.raises(LimitExceeded):
        images_in(root, "ward", Limits(max_files=0), BUDGET)
    with pytest.raises(LimitExceeded):
        replace(file, limits=Limits(max_file_bytes=3)).load()
