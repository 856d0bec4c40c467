"""Files from URLs: from public addresses only, within the limits, and within one time for everything."""

import asyncio
import ipaddress
import socket
import ssl
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from pacs_helpers import dripping

from covid_monai.api.uploads import LimitExceeded, Limits, MemoryBudget, OutOfMemoryBudget, Upload
from covid_monai.app import url_fetch
from covid_monai.app.url_fetch import FetchError, UrlFetcher, is_public

HERE = frozenset({"127.0.0.1"})
RESOLVE = socket.getaddrinfo


def fetch(url, hosts=HERE, *, limits=None, budget=None, seconds=20.0):
    budget = budget or MemoryBudget(1 << 30)
    try:
        found = asyncio.run(UrlFetcher(limits or Limits(), budget, hosts, seconds=seconds).fetch(url))
    except Exception:
        assert budget.held == 0
        raise
    assert budget.held == len(found.data)
    return found


def resolve_to(monkeypatch, *addresses, names=(), more=()):
    """Let every name, or some, have these addresses; gives the names that are asked for."""
    asked = []

    def answer(host, *_, **__):
        if names and host not in names:
            return RESOLVE(host, None)
        asked.append(host)
        found = more if host == "ipv4only.arpa" else addresses
        if not found:
            raise socket.gaierror("no name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


class Answers(BaseHTTPRequestHandler):
    """A web server with an image, redirects, and a body without end; it notes the headers Host."""

    def do_GET(self):
        self.server.hosts.append(self.headers["Host"])
        moved = {"/moved": "/image.png", "/away": "http://169.254.169.254/secret", "/loop": "/loop"}
        moved |= {"/named": "http://inside.example/", "/file": "file:///etc/passwd", "/bad": "http://[::1/"}
        if self.path in moved:
            self.send_response(302)
            self.send_header("location", moved[self.path])
            self.end_headers()
            return
        self.send_response(404 if self.path == "/nothing" else 200)
        if self.path == "/chunks":
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"1\r\na\r\n" * 40_000 + b"0\r\n\r\n")
            return
        self.end_headers()
        try:
            for _ in range(10_000 if self.path == "/endless" else 1):
                self.wfile.write(b"image" * 1000)
        except OSError:
            pass

    def log_message(self, *_):
        pass


@contextmanager
def serving(wrap=None):
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.hosts = []
        if wrap is not None:
            server.socket = wrap(server.socket)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def site():
    with serving() as server:
        yield f"http://127.0.0.1:{server.server_port}"


def test_a_named_host_is_fetched_from_also_after_a_redirect(site):
    for path in ("/image.png", "/moved", "/folder/image.png?a=b%20c d"):
        assert fetch(site + path) == Upload("image.png", b"image" * 1000)


@pytest.mark.parametrize("path", ["/..%2F..%2Fetc%2Fpasswd", "/a%5Cpasswd", "/ward/passwd", "/x/passwd/"])
def test_a_name_holds_no_path(site, path):
    assert fetch(site + path).name == "passwd"


PRIVATE_IPV4 = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.0.170", "192.0.2.1", "192.168.1.1"),
    *("192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
    *("239.255.255.255", "240.0.0.1", "255.255.255.255"),
)
PRIVATE_IPV6 = (
    *("::", "::1", "100::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1"),
    *("2001:db8::1", "3fff::1", "2001:2::1", "2001:10::1", "2001:20::1", "5f00::1", "64:ff9b:1::1.1.1.1"),
    *("2606:4700::1111%lo", "4000::1", "3ffe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
)
# The forms that hold an IPv4 address (as a number), and RFC 5214's with a public prefix.
EMBEDDINGS = {
    "mapped": lambda number: (0xFFFF << 32) | number,
    "compatible": lambda number: number,
    "translated (SIIT)": lambda number: (0xFFFF << 48) | number,
    "NAT64": lambda number: (0x64FF9B << 96) | number,
    "NAT64, local": lambda number: (0x64FF9B0001 << 80) | number,
    "6to4": lambda number: (0x2002 << 112) | (number << 80) | 1,
    "Teredo server": lambda number: (0x20010000 << 96) | (number << 64) | 0xFFFF,
    "Teredo client": lambda number: (0x20010000 << 96) | (0x08080808 << 64) | (number ^ 0xFFFFFFFF),
    "ISATAP": lambda number: (0x26064700 << 96) | (0x00005EFE << 32) | number,
    "ISATAP, universal": lambda number: (0x26064700 << 96) | (0x02005EFE << 32) | number,
}


@pytest.mark.parametrize("address", [*PRIVATE_IPV4, *PRIVATE_IPV6])
def test_an_address_that_is_no_host_of_the_public_internet(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "192.0.1.1", "2606:4700:4700::1111", "2a00:1450::1", "2001:4860::8888"]
)
def test_a_public_address(address):
    assert is_public(address)


@pytest.mark.parametrize("form", EMBEDDINGS)
@pytest.mark.parametrize("private", PRIVATE_IPV4)
def test_a_private_address_inside_of_another(form, private):
    whole = ipaddress.IPv6Address(EMBEDDINGS[form](int(ipaddress.IPv4Address(private))))
    assert not is_public(str(whole))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6), st.ip_addresses(network="2000::/3")))
def test_nothing_is_public_that_python_calls_not_global(address):
    if not address.is_global or address.is_multicast:
        assert not is_public(str(address))


@given(st.ip_addresses(v=4), st.sampled_from([32, 40, 48, 56, 64, 96]))
def test_the_prefix_of_a_translator_in_this_network_is_known(address, length):
    # RFC 6052 section 2.2: the IPv4 address follows the prefix, and goes around the octet 8, which is 0.
    prefix = ipaddress.IPv6Network(f"2606:4700:1234:5678:9abc:def0::/{length}", strict=False)
    octets = bytearray(prefix.network_address.packed)
    octets[8] = 0 if length < 96 else octets[8]
    free = [at for at in range(length // 8, 16) if at != 8 or length == 96][:4]
    for at, octet in zip(free, address.packed, strict=True):
        octets[at] = octet
    whole = ipaddress.IPv6Address(bytes(octets))
    assert is_public(str(whole), [prefix]) == is_public(str(address))


def test_a_translated_private_address_is_refused_by_the_prefix_that_the_resolver_tells(monkeypatch):
    asked = resolve_to(monkeypatch, "2606:4700:64::a00:1", more=["2606:4700:64::c000:aa"])
    with pytest.raises(FetchError, match="private network"):
        fetch("http://named.example/")
    assert asked == ["named.example", "ipv4only.arpa"]


SPELLINGS = (
    *("http://127.0.0.1:1/x", "http://localhost/x", "http://localhost./x", "http://LOCALHOST/", "http://0/x"),
    *("http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://0x7f000001/"),
    *("http://127.0.0.1./", "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/", "http://127\u30020\u30020\u30021/"),
    *("http://%31%32%37.0.0.1/", "http://127.0.0.1%00.example.org/", "http://[::]/", "http://[::1]/x"),
    *("http://[::ffff:127.0.0.1]/x", "http://[::ffff:7f00:1]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::127.0.0.1]/"),
    *("http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://[fec0::1]/", "http://[fe80::1%25lo]/"),
    *("http://[fe80::1%lo]/", "https://10.0.0.1/x", "http://169.254.169.254/latest/meta-data", " http://0/ "),
    *("http://xn--/", "http:\\\\127.0.0.1\\", "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/"),
    *("http://example.org@127.0.0.1/", "http://user:word@example.org/", "http://@127.0.0.1/", "//127.0.0.1/"),
    *("file:///etc/passwd", "ftp://example.org/x", "gopher://127.0.0.1/", "http://", "nonsense", "", "http:///x"),
    *("http://example.org:nonsense/", "http://[bad/", "http://a..b/", f"http://{'a' * 64}.example/"),
    *("http://127.0.0.1\r\nHost: a/", "http://127.0.0.1#@example.org/", "http://127.0.0.1\t/", "http://a\0b/"),
    *("http://example.org/\ud800", "http://example.org/?\udfff"),
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(SPELLINGS)))
def test_nothing_private_and_no_other_scheme_is_fetched(number):
    with pytest.raises(FetchError, match=r"private network|Give a URL|not a URL|No host"):
        fetch(SPELLINGS[number], hosts=frozenset())


@pytest.mark.parametrize("path", ["/away", "/named", "/file", "/bad"])
def test_a_redirect_is_checked_as_the_url_is(site, monkeypatch, path):
    resolve_to(monkeypatch, "10.0.0.1", names=["inside.example"])
    with pytest.raises(FetchError, match=r"private network|Give a URL|not a URL"):
        fetch(site + path)


def test_redirects_without_end_and_other_answers(site):
    with pytest.raises(FetchError, match="redirects"):
        fetch(site + "/loop")
    with pytest.raises(FetchError, match="404"):
        fetch(site + "/nothing")


def test_a_name_that_resolves_to_public_and_private_addresses_is_refused(monkeypatch):
    resolve_to(monkeypatch, "1.1.1.1", "192.168.0.1")
    with pytest.raises(FetchError, match="private network"):
        fetch("http://both.example/")


def test_a_name_is_resolved_once_and_no_proxy_is_used(site, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    port = site.rsplit(":", 1)[1]
    asked = resolve_to(monkeypatch, "127.0.0.1")
    with serving() as server:
        port = server.server_port
        found = fetch(f"http://Image.Example:{port}/image.png", frozenset({"IMAGE.example"}))
        assert server.hosts == [f"image.example:{port}"]
    assert found.data == b"image" * 1000
    assert asked == ["image.example"]


def test_the_next_address_is_tried_when_the_first_does_not_answer(site, monkeypatch):
    port = int(site.rsplit(":", 1)[1])
    resolve_to(monkeypatch, "127.0.0.77", "127.0.0.1")  # nothing listens at the first
    assert fetch(f"http://a.example:{port}/x", frozenset({"a.example"})).name == "x"
    with full_server("127.0.0.78", port):
        resolve_to(monkeypatch, "127.0.0.78", "127.0.0.1")  # the first is silent
        assert fetch(f"http://a.example:{port}/x", frozenset({"a.example"}), seconds=3).name == "x"


@contextmanager
def full_server(address, port=0):
    """A server that accepts no connection more."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for line in waiting:
            line.setblocking(False)
            line.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
        for line in waiting:
            line.close()


def test_a_body_without_end_is_not_read_to_its_end(site):
    with pytest.raises(LimitExceeded):
        fetch(site + "/endless", limits=Limits(max_file_bytes=100_000))
    with pytest.raises(OutOfMemoryBudget):
        fetch(site + "/endless", budget=MemoryBudget(100_000))


def test_chunks_without_number_leave_the_event_loop_its_turns(site, monkeypatch):
    turn, pieces = 0, Counter()

    async def count_turns():
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def fetch_beside():
        counting = asyncio.create_task(count_turns())
        found = await UrlFetcher(Limits(), MemoryBudget(1 << 30), HERE, seconds=60).fetch(site + "/chunks")
        counting.cancel()
        return found

    monkeypatch.setattr(Limits, "check_file", lambda *_: pieces.update([turn]))
    assert len(asyncio.run(fetch_beside()).data) == 40_000
    assert max(pieces.values()) < 1000  # of 6 bytes each


SLOW = {
    "silent": b"",
    "header": b"HTTP/1.1 200 OK\r\nX: ",
    "body": b"HTTP/1.1 200 OK\r\n\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "informational": b"HTTP/1.1 100 Continue\r\nX: ",
}


@pytest.mark.slow
@pytest.mark.parametrize("where", [*SLOW, "tls", "name"])
def test_what_is_slow_is_given_up_in_time(monkeypatch, where):
    ended = threading.Event()
    if where == "name":
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: ended.wait(20))
    fetcher = UrlFetcher(Limits(), MemoryBudget(1 << 20), HERE, seconds=0.7)
    with dripping(SLOW.get(where, b"")) as url:
        url = url.replace("http:", "https:") if where == "tls" else url
        loop = asyncio.new_event_loop()
        begin = time.monotonic()
        with pytest.raises(FetchError, match=r"did not send the whole file in 0.7 s.*--fetch-seconds"):
            loop.run_until_complete(fetcher.fetch(url))
        assert time.monotonic() - begin < 10
        ended.set()
        loop.close()


def test_a_server_that_takes_no_connection_is_given_up_in_time():
    with full_server("127.0.0.79") as port, pytest.raises(FetchError, match="cannot be reached"):
        fetch(f"http://127.0.0.79:{port}/", frozenset({"127.0.0.79"}), seconds=0.7)


def test_slow_urls_take_no_thread_and_no_place_of_others(site, monkeypatch):
    async def many():
        with dripping(b"HTTP/1.1 200 OK\r\n\r\n") as url:
            before = threading.active_count()
            slow = [asyncio.create_task(fetcher.fetch(url)) for _ in range(40)]
            while fetcher._running < 40:
                await asyncio.sleep(0.01)
            other = await fetcher.fetch(site + "/image.png")
            assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), 10) == 7
            dripping_threads = 41  # of the server
            assert threading.active_count() - before < dripping_threads + url_fetch._RESOLVERS + 3
            monkeypatch.setattr(url_fetch, "_MAX_FETCHES", 40)
            with pytest.raises(FetchError, match="as many files as it can"):
                await fetcher.fetch(site + "/image.png")
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
        with pytest.raises(FetchError, match="not a URL"):
            await fetcher.fetch("http://[")
        assert fetcher._running == 0
        return other

    fetcher = UrlFetcher(Limits(), MemoryBudget(1 << 30), HERE, seconds=30)
    assert asyncio.run(many()).name == "image.png"


def test_certificates_are_checked_for_the_name(tmp_path, monkeypatch):
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")]),
    )
    now = datetime.now()  # noqa: DTZ005  # the library takes it as UTC; the day more covers every zone
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(2)).not_valid_after(now + timedelta(2))
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.DNSName("image.example")]), critical=False
    )
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "both.pem").write_bytes(private + certificate)
    (tmp_path / "trusted.pem").write_bytes(certificate)
    context, said = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    context.load_cert_chain(tmp_path / "both.pem")
    context.sni_callback = lambda _, name, __: said.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    resolve_to(monkeypatch, "127.0.0.1")
    hosts = frozenset({"image.example", "other.example"})
    with serving(lambda plain: context.wrap_socket(plain, server_side=True)) as server:
        assert fetch(f"https://image.example:{server.server_port}/x", hosts).data == b"image" * 1000
        with pytest.raises(FetchError, match=r"connection to other\.example failed"):
            fetch(f"https://other.example:{server.server_port}/x", hosts)
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(FetchError, match=r"connection to image\.example failed"):
            fetch(f"https://image.example:{server.server_port}/x", hosts)
    assert said == ["image.example", "other.example", "image.example"]
