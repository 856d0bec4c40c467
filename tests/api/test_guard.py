"""Requests over a real socket that no page and no program of a stranger may send, and those that it may."""

import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest
import requests
import websocket
from api_helpers import LIMITS, in_process, post, problem
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_monai.api.access import Access, ApiKeys
from covid_monai.api.server import ServiceSettings
from covid_monai.core.json_log import JsonFormatter

KEY = "planted-0123456789-abcdef"
UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)
MALFORMED = (
    *(
        b"",
        b" ",
        b"[::1",
        b"[::1]x",
        b"::1",
        b"[localhost]",
        b"[]",
        b"[",
        b"]",
        b"[::1]]:1",
        b"[fe80::1%25lo]",
    ),
    *(b"a@localhost", b"a:b@localhost", b"localhost@evil.example", b"localhost:x", b"localhost:-1"),
    *(b"localhost:99999", b"localhost:8080:8080", b"localhost/", b"localhost?x", b"localhost#x", b"x y"),
    *(
        b"localhost,localhost",
        b"%6cocalhost",
        b"localhost%00",
        "l\u00f6calhost".encode(),
        b"\xff",
        b"localhost\\",
    ),
    *(b"http://localhost", b"localhost\tx", b"[::ffff:127.0.0.1", b"127.0.0.1:\xb2"),
)
UNKNOWN = (
    b"evil.example",
    b"127.0.0.1.evil.example",
    b"[::2]",
    b"127.1",
    b"2130706433",
    b"0.0.0.0",
    b"localhostx",
)


def raw(service, head, *, version=b"1.1"):
    """Send a GET of /v1/model with these lines of a head; gives status, headers and body."""
    parts = urlsplit(service)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as line:
        line.sendall(b"GET /v1/model HTTP/%b\r\n%b\r\n" % (version, head))
        answer = http.client.HTTPResponse(line, method="GET")
        answer.begin()
        return answer.status, answer.headers, answer.read()


def refusal(answer):
    """The kind of the problem of an answer."""
    status, headers, body = answer
    assert headers["Content-Type"] == "application/problem+json", answer
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert json.loads(body)["status"] == status
    return json.loads(body)["type"].removeprefix("/problems/")


@pytest.mark.parametrize("upgrade", [b"", UPGRADE], ids=["http", "websocket"])
def test_a_host_that_is_malformed_or_unknown_is_a_problem_and_no_failure(service, upgrade):
    for host in MALFORMED:
        assert refusal(raw(service, b"Host: %b\r\n%b" % (host, upgrade))) == "bad-host", host
    for host in UNKNOWN:
        assert refusal(raw(service, b"Host: %b\r\n%b" % (host, upgrade))) == "other-host", host
    for head in (
        b"",
        b"Host: localhost\r\nHost: localhost\r\n",
        b"Host: localhost\r\nHost: evil.example\r\n",
    ):
        assert refusal(raw(service, head + upgrade)) == "bad-host"


def test_old_http_without_a_host_is_answered(service):
    assert refusal(raw(service, b"", version=b"1.0")) == "bad-host"
    assert raw(service, b"Host: localhost\r\n", version=b"1.0")[0] == 200


@settings(max_examples=200, deadline=None)
@given(
    host=st.one_of(
        st.binary(max_size=30), st.text("[]:@%.0123456789abcdeflocalhst-", max_size=20).map(str.encode)
    )
)
def test_no_host_whatever_is_a_failure(service, host):
    status, _, _ = raw(service, b"Host: " + host.translate(None, b"\r\n\0") + b"\r\n")
    assert status in (200, 400, 421)


def test_the_names_of_loopback_are_answered_on_any_port(service):
    for host in (b"localhost", b"LOCALHOST:9", b"127.0.0.1:65535", b"[::1]:8080", b"[::1]", b"127.0.0.2"):
        assert raw(service, b"Host: %b\r\n" % host)[0] == 200, host


@pytest.fixture(scope="module")
def watched(engine):
    """The service, and how many predictions its engine was asked for."""
    calls, predict = [], engine.predict
    engine.predict = lambda uploads: calls.append(1) or predict(uploads)
    with in_process(engine, ServiceSettings(limits=LIMITS)) as url:
        yield url, calls
    del engine.predict


def foreign(url):
    port = urlsplit(url).port
    origins = (
        *("null", "", "http://evil.example", "https://evil.example", f"http://localhost:{port}", "file://"),
        *(
            f"http://127.0.0.1:{port + 1}",
            "http://127.0.0.1",
            f"https://127.0.0.1:{port}",
            f"{url}/",
            url + ".evil",
        ),
        *(
            f"{url},{url}",
            f"http://a@127.0.0.1:{port}",
            "chrome-extension://abc",
            "http://[::1",
            f"http://[::1]:{port}",
        ),
    )
    yield from ({"Origin": origin} for origin in origins)
    yield from (
        {"Sec-Fetch-Site": site} for site in ("cross-site", "same-site", "Cross-Site", "", "x", "none, none")
    )
    yield {"Origin": url, "Sec-Fetch-Site": "cross-site"}
    yield {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}


def test_a_page_of_another_origin_sends_and_reads_nothing(watched, image):
    url, calls = watched
    for headers in foreign(url):
        problem(post(url, files={"files": image.open("rb")}, headers=headers), "other-origin")
        for path in (
            "/v1/model",
            "/health",
            "/health/ready",
            "/docs",
            "/openapi.json",
            "/problems/busy",
            "/no",
        ):
            answer = requests.get(url + path, headers=headers, timeout=20)
            problem(answer, "other-origin")
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        asked = headers | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x"}
        problem(requests.options(f"{url}/v1/predict", headers=asked, timeout=20), "other-origin")
        problem(requests.put(f"{url}/v1/predict", headers=headers, timeout=20), "other-origin")
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            websocket.create_connection(
                url.replace("http", "ws") + "/socket",
                header=[f"{name}: {value}" for name, value in headers.items()],
                suppress_origin=True,
                timeout=20,
            )
        assert refused.value.status_code == 403
    assert not calls


def test_several_origins_are_foreign_even_if_one_is_our_own(service):
    netloc = urlsplit(service).netloc.encode()
    own = b"Host: %b\r\nOrigin: http://%b\r\n" % (netloc, netloc)
    assert raw(service, own)[0] == 200
    for more in (b"Origin: http://%b\r\n" % netloc, b"Origin: http://evil.example\r\n", b"Origin: null\r\n"):
        assert refusal(raw(service, own + more)) == "other-origin"
    twice = b"Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n"
    assert refusal(raw(service, own + twice)) == "other-origin"


def test_programs_and_the_own_page_are_served(watched, image):
    url, calls = watched
    port = urlsplit(url).port
    own = (
        {},
        {"Origin": url, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
        {"Origin": f"HTTP://LocalHost:{port}", "Host": f"localhost:{port}"},
        {"Origin": "http://localhost", "Host": "localhost:80"},
        {"Origin": f"http://[::1]:{port}", "Host": f"[0:0::1]:{port}"},
    )
    for headers in own:
        assert post(url, files={"files": image.open("rb")}, headers=headers).ok, headers
    assert len(calls) == len(own)


def test_what_a_proxy_is_said_to_have_forwarded_is_not_believed(service, engine):
    claims = {"X-Forwarded-Host": "localhost", "X-Forwarded-Proto": "https", "Forwarded": "host=localhost"}
    headers = claims | {"Host": "evil.example"}
    problem(requests.get(f"{service}/v1/model", headers=headers, timeout=20), "other-host")
    headers = claims | {"Origin": service.replace("http", "https")}
    problem(requests.get(f"{service}/v1/model", headers=headers, timeout=20), "other-origin")
    limited = ServiceSettings(limits=LIMITS, access=Access(requests_per_minute=1))
    with in_process(engine, limited) as url:
        assert requests.get(f"{url}/v1/model", headers={"X-Forwarded-For": "10.0.0.1"}, timeout=20).ok
        answer = requests.get(f"{url}/v1/model", headers={"X-Forwarded-For": "10.0.0.2"}, timeout=20)
        problem(answer, "too-many-requests")


@pytest.fixture(scope="module")
def keyed(engine):
    access = Access(keys=ApiKeys({"ward": KEY, "pacs": KEY[::-1]}), requests_per_minute=4)
    with in_process(engine, ServiceSettings(limits=LIMITS, access=access)) as url:
        yield url


def test_a_key_is_asked_for_and_named_in_the_log_but_never_written(keyed, image, caplog):
    caplog.set_level("DEBUG")
    with image.open("rb") as file:
        answer = post(keyed, files={"files": file})
    problem(answer, "no-key")
    assert 'Basic realm="covid-monai"' in answer.headers["WWW-Authenticate"]
    assert requests.get(f"{keyed}/health", timeout=20).ok
    for authorization in (f"Bearer {KEY}x", f"Token {KEY}", KEY):
        headers = {"Authorization": authorization}
        problem(requests.get(f"{keyed}/v1/model", headers=headers, timeout=20), "no-key")
        problem(requests.get(f"{keyed}/v1/model?key={KEY}", headers=headers, timeout=20), "no-key")
    with image.open("rb") as file:
        assert post(keyed, files={"files": file}, headers={"Authorization": f"Bearer {KEY}"}).ok
    assert requests.get(f"{keyed}/v1/model", auth=("ward", KEY), timeout=20).ok
    lines = [JsonFormatter().format(record) for record in caplog.records]
    answered = [json.loads(line) for line in lines if '"route": "/v1/predict"' in line]
    assert [(one["status"], one["caller"]) for one in answered] == [(200, "ward")]
    assert {one["reason"] for one in map(json.loads, lines) if one["event"] == "refused"} == {"no-key"}
    assert not [line for line in lines if KEY in line]


def test_each_key_has_its_own_rate(keyed):
    other = {"Authorization": f"Bearer {KEY[::-1]}"}
    for _ in range(4):
        assert requests.get(f"{keyed}/v1/model", headers=other, timeout=20).ok
    answer = requests.get(f"{keyed}/v1/model", headers=other, timeout=20)
    problem(answer, "too-many-requests")
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert requests.get(f"{keyed}/v1/model", auth=("ward", KEY), timeout=20).ok
    assert requests.get(f"{keyed}/health/ready", timeout=20).ok


def test_a_socket_needs_a_key_too(keyed):
    address = keyed.replace("http", "ws") + "/socket"
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(address, timeout=20)
    assert refused.value.status_code == 401
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(address, timeout=20, header=[f"Authorization: Bearer {KEY}"])
    assert refused.value.status_code not in (401, 500)  # REST has no socket, and says so


def test_a_page_of_another_origin_is_refused_before_its_key_is_looked_at(keyed):
    headers = {"Origin": "http://evil.example", "Authorization": f"Bearer {KEY}"}
    problem(requests.get(f"{keyed}/v1/model", headers=headers, timeout=20), "other-origin")


def test_the_description_names_keys_where_they_are_needed(service, keyed):
    assert "security" not in requests.get(f"{service}/openapi.json", timeout=20).json()
    description = requests.get(f"{keyed}/openapi.json", auth=("ward", KEY), timeout=20).json()
    assert description["security"] == [{"bearer": []}, {"basic": []}]
    assert set(description["components"]["securitySchemes"]) == {"bearer", "basic"}
    assert description["paths"]["/health"]["get"]["security"] == []
    for path, method in (("/v1/predict", "post"), ("/v1/report", "post"), ("/v1/model", "get")):
        operation = description["paths"][path][method]
        assert "security" not in operation
        assert {"400", "401", "403", "421", "429"} <= set(operation["responses"])
