"""Who may use the service: keys, rates, names; the rules alone, test_guard.py sends requests."""

import base64
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import Authorization

from covid_monai.api.access import _MAX_CALLERS, Access, ApiKeys, RateLimit
from covid_monai.api.problems import ProblemError

KEYS = {"ward": "a" * 20, "pacs.2": "B" * 19 + "=", "third": "0123456789~+/-._abcdef"}


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    return path


def scope(path="/v1/model", method="GET", client="127.0.0.1", **headers):
    headers = {"host": "localhost"} | headers
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "client": (client, 1), "headers": pairs}


def refused_as(access, **request):
    with pytest.raises(ProblemError) as caught:
        access.check(scope(**request))
    return caught.value


# -- keys ----------------------------------------------------------------------------------------------------


def test_a_file_of_keys_is_read(key_file):
    lines = [f"{name}:{key}" for name, key in KEYS.items()]
    key_file.write_text("\ufeff# who may\r\n\r\n" + "\r\n".join(lines) + "  \n", "utf-8")
    keys = ApiKeys.read(key_file)
    assert {name: keys.name_of(f"Bearer {key}") for name, key in KEYS.items()} == {
        name: name for name in KEYS
    }
    assert not [key for key in KEYS.values() if key in repr(vars(keys))]


@pytest.mark.parametrize(
    "line",
    [
        *("secret-planted-4711", "a:secret-planted", "a b:secret-planted-471100", ":secret-planted-471100"),
        *("a:secret planted 471100", "a:secret-planted-47110\u00e4", "a: secret-planted-471100"),
        *("ward:secret-planted-471100", "other:" + "a" * 20, "x" * 65 + ":secret-planted-471100"),
    ],
)
def test_a_wrong_line_is_named_and_not_quoted(key_file, line):
    key_file.write_text(f"ward:{'a' * 20}\n{line}\n")
    with pytest.raises(ValueError, match=f"{key_file}, line 2 ") as caught:
        ApiKeys.read(key_file)
    assert "planted" not in str(caught.value)
    assert "a" * 20 not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_in_another_encoding_is_named_and_not_quoted(key_file, encoding):
    key_file.write_bytes(f"st\u00e4tion:{'planted' * 4}\n".encode(encoding))
    with pytest.raises(ValueError, match=f"{key_file}, line 1 ") as caught:
        ApiKeys.read(key_file)
    assert "planted" not in str(caught.value)


def test_a_comment_may_be_indented_and_in_any_encoding(key_file):
    key_file.write_bytes(f"  # station \u00e4\nward:{'a' * 20}\n".encode("latin-1"))
    assert ApiKeys.read(key_file).name_of(f"Bearer {'a' * 20}") == "ward"


@pytest.mark.parametrize(("name", "problem"), [("nowhere", "does not exist"), (".", "is a folder")])
def test_what_is_no_file_of_keys_is_named(tmp_path, name, problem):
    with pytest.raises(FileNotFoundError, match=rf"of API keys {problem}\. Make a file with a line NAME:KEY"):
        ApiKeys.read(tmp_path / name)


def test_a_file_without_keys_is_refused(key_file):
    key_file.write_text("# none yet\n\n")
    with pytest.raises(ValueError, match="has no API key"):
        ApiKeys.read(key_file)


@pytest.mark.parametrize(("mode", "accepted"), [(0o600, 1), (0o400, 1), (0o640, 1), (0o660, 0), (0o604, 0)])
def test_a_file_that_others_can_use_is_refused(key_file, mode, accepted):
    key_file.write_text(f"ward:{'a' * 20}\n")
    key_file.chmod(mode)
    if accepted:
        assert ApiKeys.read(key_file)
    else:
        with pytest.raises(ValueError, match=f"chmod 600 {key_file}"):
            ApiKeys.read(key_file)


@pytest.mark.parametrize("name", KEYS)
def test_a_browser_and_a_program_send_a_key_in_their_own_way(name):
    keys = ApiKeys(KEYS)
    basic = Authorization("basic", {"username": name, "password": KEYS[name]}).to_header()
    bearer = Authorization("bearer", token=KEYS[name]).to_header()
    for header in (basic, bearer, bearer.replace("Bearer", "BEARER"), basic.replace("Basic", "basic")):
        assert keys.name_of(header) == name


def basic(text, encoding="utf-8"):
    return "Basic " + base64.b64encode(text.encode(encoding)).decode()


@pytest.mark.parametrize(
    "header",
    [
        *("", "Bearer", "Bearer ", "Basic", "Basic x", "Basic ====", "Digest " + "a" * 20, "a" * 20),
        *("Bearer " + "a" * 19, "Bearer " + "a" * 21, "Bearer " + "A" * 20, f"Bearer {'a' * 20},{'a' * 20}"),
        *(f"Bearer {'a' * 20}, Bearer {'a' * 20}", "Bearer\u00a0" + "a" * 20, "Bearer ward:" + "a" * 20),
        *(basic("ward"), basic("ward:"), basic(f":{'a' * 20}"), basic(f"other:{'a' * 20}")),
        *(basic(f"pacs.2:{'a' * 20}"), basic(f"WARD:{'a' * 20}"), basic("\u00e4:\u00e4", "latin-1")),
    ],
)
def test_no_other_header_is_a_key(header):
    assert ApiKeys(KEYS).name_of(header) is None


@pytest.mark.slow
@settings(deadline=None)
@given(st.text())
def test_no_text_is_an_error(header):
    for prefix in ("", "Bearer ", "Basic "):
        assert ApiKeys(KEYS).name_of(prefix + header) is None


def test_every_key_is_compared_in_constant_time(monkeypatch):
    compared = []

    def compare(one, other):
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("covid_monai.api.access.hmac.compare_digest", compare)
    keys = ApiKeys(KEYS)
    for given_key, name in ((KEYS["ward"], "ward"), ("x", None), ("", None)):
        compared.clear()
        assert keys.name_of(f"Bearer {given_key}") == name
        assert compared == [(32, 32)] * len(KEYS)


def test_only_health_and_the_pages_of_problems_are_open_without_a_key():
    access = Access(keys=ApiKeys(KEYS))
    for path in ("/health", "/health/ready", "/problems/no-key"):
        assert access.check(scope(path)) is None
        assert refused_as(access, path=path, method="POST").kind == "no-key"
    for path in ("/", "/v1/model", "/docs", "/openapi.json", "/healthy", "/health/", "/health/../v1/model"):
        assert refused_as(access, path=path).kind == "no-key"
    for path in ("/problems/", "/problems/x", "/problems/no-key/..", "//health", "/_nicegui_ws/socket.io/"):
        assert refused_as(access, path=path).kind == "no-key"
    assert access.check(scope(authorization=f"Bearer {KEYS['ward']}")) == "ward"
    assert refused_as(access).headers["WWW-Authenticate"].startswith("Basic ")


# -- requests per minute -------------------------------------------------------------------------------------


def test_no_minute_has_more_requests_than_allowed():
    now = [1000.0]
    limit = RateLimit(3, lambda: now[0])
    accepted = []
    for _ in range(600):
        now[0] += 1.7
        if not (seconds := limit.count("ward")):
            accepted.append(now[0])
        else:
            assert 0 < seconds <= 60
            assert accepted[-3] + 60 == pytest.approx(now[0] + seconds)
    most = max(sum(begin <= one < begin + 60 for one in accepted) for begin in accepted)
    assert most == 3
    assert len(accepted) >= 3 * 600 * 1.7 / 60 * 0.9


def test_callers_have_a_rate_each_and_their_number_is_bounded():
    now = [0.0]
    limit = RateLimit(2, lambda: now[0])
    for caller in ("a", "b"):
        assert [limit.count(caller) > 0 for _ in range(3)] == [False, False, True]
    for number in range(3 * _MAX_CALLERS):
        limit.count(str(number))
        limit.count("a")  # who comes again and again is not forgotten
    assert limit.count("a") > 0
    assert len(limit._times) == _MAX_CALLERS
    now[0] = 60
    assert limit.count("a") == 0
    assert len(limit._times["a"]) == 1


def test_the_clock_of_the_day_changes_no_rate(monkeypatch):
    limit = RateLimit(1)
    assert limit.count("a") == 0
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert limit.count("a") > 50


def test_operations_and_files_for_the_page_are_counted():
    access = Access(requests_per_minute=1)
    for path, method in (
        ("/", "GET"),
        ("/health", "GET"),
        ("/_nicegui_ws/socket.io/", "POST"),
        ("/docs", "GET"),
    ):
        for _ in range(3):
            access.check(scope(path, method))
    access.check(scope(method="POST", path="/_covid_monai/x/1"))
    problem = refused_as(access)
    assert problem.kind == "too-many-requests"
    assert 50 < int(problem.headers["Retry-After"]) <= 60
    assert refused_as(access, method="OPTIONS", path="/v1/predict").kind == "too-many-requests"


def test_a_rate_is_of_a_key_or_else_of_an_address():
    access = Access(requests_per_minute=1)
    clients = ("10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8:0:1::1", "::1", "testclient")
    for client in clients:
        access.check(scope(client=client))
    for client in (*clients, "2001:db8::ffff:2"):
        assert refused_as(access, client=client).kind == "too-many-requests"
    access = Access(requests_per_minute=1, keys=ApiKeys(KEYS))
    for client, name in (("10.0.0.1", "ward"), ("10.0.0.1", "third")):
        assert access.check(scope(client=client, authorization=f"Bearer {KEYS[name]}")) == name
    again = refused_as(access, client="10.0.0.9", authorization=f"Bearer {KEYS['ward']}")
    assert again.kind == "too-many-requests"
    assert refused_as(access, authorization="Bearer x").kind == "no-key"  # it is not counted


# -- names and origins ---------------------------------------------------------------------------------------


def test_a_service_on_loopback_has_the_names_of_loopback_and_those_that_were_given():
    access = Access(public_urls=("https://images.example", "http://10.0.0.9:8080/", "http://[FD00::1]:8080"))
    for host in ("localhost", "127.0.0.1:1", "127.0.0.5", "[::1]:1", "images.example", "IMAGES.example:443"):
        access.check(scope(host=host))
    for host in ("evil.example", "10.0.0.1", "0.0.0.0", "x.images.example", "images.example.evil", "[::2]"):
        assert refused_as(access, host=host).kind == "other-host"
    for host in ("10.0.0.9:8080", "[fd00::1]:8080"):
        access.check(scope(host=host, origin=f"http://{host}"))
    assert refused_as(access, host="[fd00::2]:8080").kind == "other-host"


def test_a_service_for_others_has_every_address_and_its_own_name(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Workstation-7")
    access = Access(loopback=False, public_urls=("http://images.example:8080",))
    for host in ("10.0.0.1:8501", "[2001:db8::1]:8501", "localhost", "workstation-7:8501", "images.example"):
        access.check(scope(host=host))
    for host in ("evil.example", "workstation-7.evil.example", "10.0.0.1.nip.example", "xworkstation-7"):
        assert refused_as(access, host=host).kind == "other-host"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "images.example",
            "https://",
            "https://images.example/covid",
            "ftp://images.example",
            "null",
            "*",
        ),
        *("https://*.example", "https://a@images.example", "https://images.example:99999", "https://[::1"),
        *("https://images.example?x", "https://images.example#x", "https://images.example,https://b.example"),
    ],
)
def test_a_public_url_that_is_no_origin_is_refused(url):
    with pytest.raises(ValueError, match="is not the address of a server"):
        Access(public_urls=(url,))


NAVIGATION = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}


def test_a_link_on_another_site_leads_to_the_pages_and_to_nothing_else():
    access = Access()
    for path in ("/", "/docs"):
        access.check(scope(path, **NAVIGATION))
        access.check(scope(path, **NAVIGATION | {"sec_fetch_site": "same-site"}))
    for changed in (
        *({"path": path} for path in ("/v1/model", "/openapi.json", "/_covid_monai/x/blob/y", "/health")),
        *({"method": method} for method in ("POST", "HEAD", "OPTIONS", "PUT")),
        *({"sec_fetch_dest": dest} for dest in ("iframe", "frame", "embed", "object", "image", "empty", "")),
        *({"sec_fetch_mode": mode} for mode in ("no-cors", "cors", "same-origin", "websocket", "")),
        *({"origin": origin} for origin in ("null", "http://evil.example")),
    ):
        assert refused_as(access, **{"path": "/", **NAVIGATION, **changed}).kind == "other-origin", changed


def test_the_origin_behind_a_proxy_is_the_public_one_with_any_host():
    access = Access(public_urls=("https://images.example",))
    for host in ("localhost:8501", "images.example"):
        access.check(scope(host=host, origin="https://images.example", sec_fetch_site="same-origin"))
        assert refused_as(access, host=host, origin="https://evil.example").kind == "other-origin"
    assert refused_as(access, origin="http://images.example:8080").kind == "other-origin"
