"""Archive client: limits on answers, credentials, certificates, and whose fault a failure is."""

import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from ipaddress import ip_address
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pacs_helpers import MULTIPART, in_pieces, multipart_body

from covid_monai.pacs.client import ArchiveClient
from covid_monai.pacs.connection import ArchiveConnection, InstanceAddress
from covid_monai.pacs.failures import ArchiveFailure, Fault

ADDRESS = InstanceAddress("1.1", "1.2", "1.3")


@pytest.fixture
def server():
    """An archive that answers as its `plan` says: `(status, body, seconds between bytes)`."""

    class Handler(BaseHTTPRequestHandler):
        plan = (200, b"", 0.0)
        headers_seen: ClassVar[list] = []

        def do_GET(self):
            self.headers_seen.append(dict(self.headers))
            status, body, pause = self.plan
            self.send_response(status)
            self.send_header("Content-Type", MULTIPART)
            self.send_header("Location", "http://127.0.0.1:9/")
            self.end_headers()
            for piece in [body] if not pause else in_pieces(body, 1):
                self.wfile.write(piece)
                time.sleep(pause)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *arguments):
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.daemon_threads = True
    threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
    found.handler = Handler
    yield found
    found.shutdown()
    found.server_close()


def client_of(server, **settings):
    address = {"name": "a", "url": f"http://127.0.0.1:{server.server_address[1]}"}
    return ArchiveClient(ArchiveConnection(**address, **settings), max_object_bytes=10_000)


def fetched(client, tmp_path):
    with pytest.raises(ArchiveFailure) as caught, (tmp_path / "1.dcm").open("wb") as file:
        client.fetch(ADDRESS, file)
    return caught.value.reason, caught.value.fault


def test_an_object_over_the_limit_is_not_read_to_its_end(server, tmp_path):
    server.handler.plan = (200, multipart_body(bytes(50_000_000)), 0.0)
    assert fetched(client_of(server), tmp_path) == ("too_large", Fault.OBJECT)
    assert (tmp_path / "1.dcm").stat().st_size <= 10_000


def test_a_slow_answer_ends_at_the_time_limit(server, tmp_path):
    server.handler.plan = (200, multipart_body(bytes(5000)), 0.05)
    begin = time.monotonic()
    assert fetched(client_of(server, transfer_seconds=1), tmp_path) == ("ReadTimeout", Fault.UNCLEAR)
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        *((status, Fault.ARCHIVE) for status in (401, 403, 408, 429, 502, 503, 504, 507)),
        *((status, Fault.UNCLEAR) for status in (400, 404, 406, 410, 415, 500)),
        (302, Fault.ARCHIVE),  # credentials and images go nowhere else
    ],
)
def test_each_status_has_its_fault(server, tmp_path, status, fault):
    server.handler.plan = (status, b"", 0.0)
    assert fetched(client_of(server), tmp_path)[1] is fault


def test_an_archive_that_is_not_there_is_the_archives_fault(tmp_path):
    address = {"name": "a", "url": "http://127.0.0.1:9"}
    client = ArchiveClient(ArchiveConnection(**address), max_object_bytes=1)
    assert fetched(client, tmp_path) == ("ConnectionError", Fault.ARCHIVE)


def test_credentials_are_sent_and_read_again_after_401(server, tmp_path):
    secret = tmp_path / "token"
    secret.write_text("old")
    client = client_of(server, token_file=secret)
    server.handler.plan = (401, b"", 0.0)
    server.handler.headers_seen.clear()
    secret.write_text("new")
    for _ in range(2):
        fetched(client, tmp_path)
    assert [seen["Authorization"] for seen in server.handler.headers_seen] == ["Bearer old", "Bearer new"]


def _certificates(folder):
    """An authority and a certificate of it for 127.0.0.1, with the `cryptography` package."""
    now = datetime.now(UTC)

    def made(name, issuer=None, *, issuer_key=None):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True
        )
        certificate = builder.sign(issuer_key or key, hashes.SHA256())
        path = folder / f"{name}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        return path, subject, key

    authority, subject, key = made("authority")
    return authority, *(made(name, subject, issuer_key=key)[0] for name in ("server", "client"))


def test_certificates_are_checked_on_both_sides(server, tmp_path):
    authority, own, client_certificate = _certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    context.load_cert_chain(own)
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handler.plan = (200, multipart_body(b"image"), 0.0)
    address = {"name": "a", "url": f"https://127.0.0.1:{server.server_address[1]}"}

    def client(**settings):
        return ArchiveClient(ArchiveConnection(**address, **settings), max_object_bytes=1000)

    file = BytesIO()
    client(ca_file=authority, client_certificate=client_certificate).fetch(ADDRESS, file)
    assert file.getvalue() == b"image"
    assert fetched(client(client_certificate=client_certificate), tmp_path) == ("SSLError", Fault.ARCHIVE)
    with pytest.raises(ArchiveFailure):  # without a certificate of ours
        client(ca_file=authority).fetch(ADDRESS, file)
    with pytest.raises(FileNotFoundError, match="archive a: no file"):
        client(ca_file=tmp_path / "none.pem")
