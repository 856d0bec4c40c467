"""HTTP session with an archive: credentials, certificates, and limits on every answer."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from covid_monai.pacs.connection import ArchiveConnection, CredentialsError

_CHUNK = 1 << 16
MAX_JSON_BYTES = 32 << 20  # answers of QIDO-RS and of Orthanc's API; objects have a limit of their own


class AnswerTooLarge(requests.exceptions.ContentDecodingError):
    """An answer is longer than allowed; a type of requests' errors, so that every caller handles it."""


class ArchiveSession(requests.Session):
    """Session that sends our credentials to one archive and limits every answer in size and time.

    Proxies, .netrc and certificates of the environment are ignored: only the connection's settings count.
    Redirects are not followed, so that credentials and images go to no other address.

    Raises:
        CredentialsError: If the credentials cannot be read.
        OSError: If a certificate file is missing.
    """

    def __init__(self, connection: ArchiveConnection) -> None:
        super().__init__()
        self.connection = connection
        self.trust_env = False
        self.headers.update({"User-Agent": "covid-monai", "Accept-Encoding": "identity"})
        adapter = HTTPAdapter(pool_connections=2, pool_maxsize=connection.connections + 2)
        self.mount("http://", adapter)
        self.mount("https://", adapter)
        certificate, key = connection.client_certificate, connection.client_key
        for path in (connection.ca_file, certificate, key):
            if path is not None and not path.is_file():
                raise FileNotFoundError(f"archive {connection.name}: no file {path}. Check the name.")
        if connection.ca_file:
            self.verify = str(connection.ca_file)
        if certificate:
            self.cert = (str(certificate), str(key)) if key else str(certificate)
        self.authenticate()

    def authenticate(self) -> None:
        """Read the credentials (again)."""
        secret = self.connection.read_secret()
        if secret and self.connection.username:
            self.auth = (self.connection.username, secret)
        elif secret:
            self.headers["Authorization"] = f"Bearer {secret}"

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request as `requests.Session` does, within our limits.

        Raises:
            requests.RequestException: If the request fails, or the answer is a redirect or exceeds a limit.
        """
        streamed = options.pop("stream", False)
        options |= {"allow_redirects": False, "timeout": self.connection.timeout_seconds}
        response = super().send(request, stream=True, **options)
        if response.status_code == 401:
            with contextlib.suppress(CredentialsError):  # a changed password is used by the next request
                self.authenticate()
        if response.is_redirect:
            response.close()
            raise requests.TooManyRedirects("redirects are not followed")
        if not streamed:
            limits = {"max_bytes": MAX_JSON_BYTES, "seconds": self.connection.transfer_seconds}
            response._content = b"".join(read_within_limits(response, **limits))  # as requests itself does
        return response


def read_within_limits(response: requests.Response, *, max_bytes: float, seconds: float) -> Iterator[bytes]:
    """Read the body of an answer in pieces.

    Raises:
        AnswerTooLarge: If the body is larger than `max_bytes`. The pieces so far must be thrown away.
        requests.ReadTimeout: If the body takes longer, even if bytes keep coming.
        requests.RequestException: If the connection breaks, or the body is shorter than announced.
    """
    end, size = time.monotonic() + seconds, 0
    with response:
        while piece := _next_piece(response):
            size += len(piece)
            if size > max_bytes:
                raise AnswerTooLarge(f"more than {max_bytes} bytes")
            if time.monotonic() > end:
                raise requests.ReadTimeout(f"more than {seconds:g} s for one answer")
            yield piece


def _next_piece(response: requests.Response) -> bytes:
    """Return the bytes that have come; `iter_content` of requests waits until a piece is full."""
    try:
        return bytes(response.raw.read1(_CHUNK, decode_content=True))
    except ReadTimeoutError as error:
        raise requests.ReadTimeout(str(error)) from error
    except HTTPError as error:
        raise requests.exceptions.ChunkedEncodingError(str(error)) from error
