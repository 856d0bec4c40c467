"""HTTP with an archive: who we are, whom we trust, and how much it may send."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from covid_monai.worker.settings import Archive, SettingsError

_CHUNK = 1 << 16
MAX_JSON_BYTES = 32 << 20  # answers of QIDO-RS and of Orthanc's API; objects have their own bound


class TooMuch(requests.exceptions.ContentDecodingError):
    """An answer longer than allowed; of requests' family, so that every caller handles it."""


class ArchiveSession(requests.Session):
    """A session that knows its archive's credentials and bounds every answer in size and time.

    Proxies, .netrc and certificate bundles of the environment are ignored: what counts is in the file.
    Redirects are not followed: credentials and images go to the configured address or nowhere.

    Args:
        archive: Whose address, credentials and certificates are used.

    Raises:
        SettingsError: If the credentials are not where the configuration says.
        OSError: If a certificate file is missing.
    """

    def __init__(self, archive: Archive) -> None:
        super().__init__()
        self.archive = archive
        self.trust_env = False
        self.headers.update({"User-Agent": "covid-monai-worker", "Accept-Encoding": "identity"})
        adapter = HTTPAdapter(pool_connections=2, pool_maxsize=archive.connections + 2)
        self.mount("http://", adapter)
        self.mount("https://", adapter)
        for path in (archive.ca_file, archive.client_certificate, archive.client_key):
            if path is not None and not Path(path).is_file():
                raise FileNotFoundError(f"archive {archive.name}: no file {path}")
        self.verify = str(archive.ca_file) if archive.ca_file else True
        if archive.client_certificate:
            key = archive.client_key
            certificate = str(archive.client_certificate)
            self.cert = (certificate, str(key)) if key else certificate
        self.authenticate()

    def authenticate(self) -> None:
        """Read the credentials (again)."""
        secret = self.archive.secret()
        if secret and self.archive.username:
            self.auth = (self.archive.username, secret)
        elif secret:
            self.headers["Authorization"] = f"Bearer {secret}"

    def send(self, request: requests.PreparedRequest, **options: object) -> requests.Response:
        """As requests, but bounded; a body that is not streamed is read here."""
        streamed = options.pop("stream", False)
        options["allow_redirects"] = False
        options["timeout"] = self.archive.timeout_seconds
        response = super().send(request, stream=True, **options)
        if response.status_code == 401:
            with contextlib.suppress(SettingsError):  # it may have been changed; the next request uses it
                self.authenticate()
        if response.is_redirect:
            response.close()
            raise requests.TooManyRedirects("redirects are not followed")
        if not streamed:
            body = b"".join(bounded(response, limit=MAX_JSON_BYTES, seconds=self.archive.transfer_seconds))
            response._content = body  # what requests itself does with a body that is not streamed
        return response


def bounded(response: requests.Response, *, limit: int, seconds: float) -> Iterator[bytes]:
    """The body in pieces, together no more than `limit` bytes, in no more than `seconds`.

    Raises:
        TooMuch: If there is more; what came so far is to be thrown away.
        requests.ReadTimeout: If it takes longer, however steadily it drips.
        requests.RequestException: If the connection breaks, or the body is shorter than announced.
    """
    end, size = time.monotonic() + seconds, 0
    with response:
        while piece := _next_piece(response):
            size += len(piece)
            if size > limit:
                raise TooMuch(f"more than {limit} bytes")
            if time.monotonic() > end:
                raise requests.ReadTimeout(f"more than {seconds:g} s for one answer")
            yield piece


def _next_piece(response: requests.Response) -> bytes:
    """What has come; requests' own `iter_content` waits until a piece is full, however slowly it drips."""
    try:
        return response.raw.read1(_CHUNK, decode_content=True)
    except ReadTimeoutError as error:
        raise requests.ReadTimeout(str(error)) from error
    except HTTPError as error:
        raise requests.exceptions.ChunkedEncodingError(str(error)) from error
