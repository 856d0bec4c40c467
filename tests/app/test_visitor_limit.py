"""Visitors who only load the page are bounded, and keep nobody out."""

import re
import urllib.parse
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
import socketio
from api_helpers import serving
from app_helpers import Server
from nicegui import Client
from pacs_helpers import wait_until
from results_helpers import SHIPPED

from covid_monai.api.access import Access
from covid_monai.api.engine import Engine
from covid_monai.app import visitor_limit
from covid_monai.app.server import create_app
from covid_monai.app.session import AppContext, ServedModel
from covid_monai.bundle import Bundle


@pytest.fixture
def url(classifier, monkeypatch, request):
    request.getfixturevalue("new_nicegui")
    monkeypatch.setattr(visitor_limit, "MAX_WAITING", 4)
    monkeypatch.setattr(visitor_limit, "MAX_VISITORS", 7)
    engine = Engine(classifier)
    context = AppContext({"model": ServedModel("model", Bundle(SHIPPED), engine)})
    with serving(create_app(context, Access())) as address:
        yield address
    engine.close()


def load(url, **headers):
    return requests.get(url, headers=headers, timeout=60)


@contextmanager
def visit(url):
    """Load the page and connect to it as a browser does; gives the id of the visitor."""
    key = re.search(r"/_covid_monai/([0-9a-f-]{36})/", load(url).text)[1]
    values = {"client_id": key, "tab_id": "t" + key, "document_id": key, "next_message_id": 0}
    query = urllib.parse.urlencode(values | {"implicit_handshake": "true"})
    line = socketio.Client()
    line.connect(f"{url}?{query}", socketio_path="/_nicegui_ws/socket.io", transports=["websocket"])
    wait_until(lambda: Client.instances[key].has_socket_connection, seconds=20, what="a connection")
    yield key
    line.disconnect()


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", "/nothing", "/?a=1", "/favicon.ico/x", "/docs/x"])
def test_loads_without_a_connection_do_not_add_up(url, path):
    with visit(url) as key:
        for _ in range(12):
            assert load(url + path).status_code in (200, 404)
            assert len(Client.instances) <= 1 + 4 + 1  # the new one is above the limit
        load(url, Accept="text/markdown")
        assert len(Client.instances) <= 1 + 4 + 1  # the new one is above the limit
        assert key in Client.instances
        with visit(url):  # a new visitor comes in
            pass


@pytest.mark.slow
def test_a_full_server_says_so_and_the_rest_service_goes_on(url):
    with ExitStack() as stack:
        keys = [stack.enter_context(visit(url)) for _ in range(7)]
        answer = load(url)
        assert answer.status_code == 503
        assert "Try again" in answer.text
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert int(answer.headers["Retry-After"]) > 0
        assert "Content-Security-Policy" in answer.headers
        assert requests.get(f"{url}/health", timeout=60).ok
        assert set(keys) == set(Client.instances)
    wait_until(lambda: load(url).ok, seconds=60, what="a place is free when visitors have gone")


@pytest.mark.slow
def test_three_hundred_loads_take_little_memory(tmp_path):
    def resident():
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{server.process.pid}/status").read_text())[1])

    server = Server(tmp_path)
    try:
        load(server.url)
        before = resident()
        for _ in range(300):
            assert load(server.url).ok
        assert (resident() - before) / 1024 < 110
    finally:
        server.stop()
