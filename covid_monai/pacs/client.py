"""DICOMweb client of an archive: fetch an image, store results, and confirm that they are there.

Its HTTP session sends credentials and certificates, and limits every answer.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import requests
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from covid_monai.pacs.connection import ArchiveConnection, CredentialsError, InstanceAddress
from covid_monai.pacs.deadline import Deadline
from covid_monai.pacs.failures import ArchiveFailure, Fault, classify_error
from covid_monai.pacs.multipart import MalformedMultipart, write_first_part
from covid_monai.pacs.storing import STORE_HEADERS, check_stored, file_of, store_message

# As stored: transcoding costs the archive time, and crashes some archives (Orthanc 1.10 with JPEG 2000).
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_CHUNK = 1 << 16
MAX_JSON_BYTES = 32 << 20  # answers of QIDO-RS and of Orthanc's API; objects have a limit of their own

# An answer of another shape than expected. RecursionError: JSON with thousands of nested lists.
_UNEXPECTED = (ValueError, LookupError, TypeError, AttributeError, NotImplementedError, RecursionError)

DicomJson = dict[str, Any]


class AnswerTooLarge(requests.exceptions.ContentDecodingError):
    """An answer is longer than allowed; a type of requests' errors, so that every caller handles it."""


class _TimedAdapter(HTTPAdapter):
    """Transport whose answers must be complete at a deadline."""

    def __init__(self, deadline: Deadline, **options: Any) -> None:
        self._deadline = deadline
        super().__init__(**options)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        pools: dict[str, Any] = self.poolmanager.pool_classes_by_scheme
        self.poolmanager.pool_classes_by_scheme = {
            scheme: type(pool.__name__, (pool,), {"ConnectionCls": self._timed(pool.ConnectionCls)})
            for scheme, pool in pools.items()
        }

    def _timed(self, connection: Any) -> type:
        return type(connection.__name__, (connection,), {"response_class": self._deadline.response_class})


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
        self._deadline = Deadline()
        adapter = _TimedAdapter(self._deadline, pool_connections=2, pool_maxsize=connection.connections + 2)
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
        self._deadline.start(self.connection.transfer_seconds)
        response = super().send(request, stream=True, **options)
        if response.status_code == 401:
            with suppress(CredentialsError):  # a changed password is used by the next request
                self.authenticate()
        if response.is_redirect:
            response.close()
            raise requests.TooManyRedirects("redirects are not followed")
        if not streamed:
            pieces = read_limited(response, max_bytes=MAX_JSON_BYTES)
            response._content = b"".join(pieces)  # as requests itself does
        return response


def read_limited(response: requests.Response, *, max_bytes: float) -> Iterator[bytes]:
    """Read the body of an answer in pieces.

    Raises:
        AnswerTooLarge: If the body is larger than `max_bytes`. The pieces so far must be thrown away.
        requests.ReadTimeout: If the body is not complete in time, even if bytes keep coming.
        requests.RequestException: If the connection breaks, or the body is shorter than announced.
    """
    size = 0
    with response:
        while piece := _next_piece(response):
            size += len(piece)
            if size > max_bytes:
                raise AnswerTooLarge(f"more than {max_bytes} bytes")
            yield piece


def _next_piece(response: requests.Response) -> bytes:
    """Return the bytes that have come; `iter_content` of requests waits until a piece is full."""
    try:
        return bytes(response.raw.read1(_CHUNK, decode_content=True))
    except ReadTimeoutError as error:
        raise requests.ReadTimeout(str(error)) from error
    except HTTPError as error:
        raise requests.exceptions.ChunkedEncodingError(str(error)) from error


class ArchiveClient:
    """Client of one archive; `ArchiveFailure` says whose fault a failed request is.

    Raises:
        CredentialsError: If the credentials cannot be read.
        OSError: If a certificate file is missing.
    """

    def __init__(self, connection: ArchiveConnection, *, max_object_bytes: int) -> None:
        self.connection = connection
        self.session = ArchiveSession(connection)
        self._max_object_bytes = max_object_bytes

    def fetch(self, address: InstanceAddress, file: BinaryIO) -> None:
        """Write an instance to an open file as the archive has stored it (WADO-RS).

        Raises:
            OSError: If the file cannot be written.
        """
        url = f"{self.connection.dicomweb_root}{address.path}"
        headers = {"Accept": AS_STORED}
        with classify_failures(), self.session.get(url, headers=headers, stream=True) as response:
            response.raise_for_status()
            pieces = read_limited(response, max_bytes=self._max_object_bytes)
            write_first_part(pieces, response.headers.get("Content-Type", ""), file)

    def store(self, objects: Sequence[Dataset]) -> None:
        """Store objects of one study (STOW-RS); it is a failure if one of them is not stored."""
        url = f"{self.connection.dicomweb_root}/studies/{objects[0].StudyInstanceUID}"
        with classify_failures(storing=True):
            response = self.session.post(
                url, data=store_message(map(file_of, objects)), headers=STORE_HEADERS
            )
        check_stored(response, [str(ds.SOPInstanceUID) for ds in objects])

    def confirm(
        self, objects: Sequence[Dataset], *, seconds: float, wait_for_stop: Callable[[float], bool]
    ) -> None:
        """Wait until a search (QIDO-RS) finds each stored object in its study and series.

        It is a failure if an object is not found in `seconds`. `wait_for_stop` waits a number of seconds and
        returns whether the service is to stop.
        """
        end = time.monotonic() + seconds
        missing = list(objects)
        while missing := [ds for ds in missing if not self._finds(ds)]:
            if time.monotonic() > end or wait_for_stop(0.5):
                raise ArchiveFailure(Fault.UNCLEAR, "not_found_after_storing")

    def _finds(self, ds: Dataset) -> bool:
        path = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances"
        with classify_failures(storing=True):
            found = self._query(path, SOPInstanceUID=str(ds.SOPInstanceUID))
            return any(first_value(item, "SOPInstanceUID") == ds.SOPInstanceUID for item in found)

    def get_json(self, path: str, **parameters: str | int) -> DicomJson:
        """Return an answer of Orthanc's own API, at a path below the address of Orthanc."""
        with classify_failures():
            answer: DicomJson = self._get(self.connection.url + path, parameters).json()
            return answer

    def get_text(self, path: str) -> str:
        """Return an answer of Orthanc's own API that is plain text."""
        with classify_failures():
            return self._get(self.connection.url + path, {}).text

    def _get(self, url: str, parameters: dict[str, Any], *, accept: str = "*/*") -> requests.Response:
        response = self.session.get(url, params=parameters, headers={"Accept": accept})
        response.raise_for_status()
        return response

    def _query(self, path: str, **parameters: Any) -> list[DicomJson]:
        """Return what a search (QIDO-RS) finds; an answer without a body is an empty list (204)."""
        url = self.connection.dicomweb_root + path
        response = self._get(url, parameters, accept="application/dicom+json")
        found: list[DicomJson] = response.json() if response.content else []
        if not isinstance(found, list):
            raise TypeError("not a list")
        return found

    def count_studies(self, study_date: str, *, limit: int) -> int:
        """Return how many studies of some days there are, at most `limit`."""
        with classify_failures():
            return len(self._query("/studies", StudyDate=study_date, limit=limit))

    def search(
        self, filters: dict[str, str], fields: Sequence[str], *, limit: int, offset: int
    ) -> list[DicomJson]:
        """Return one page of the instances that a search finds (QIDO-RS), at most `limit` behind `offset`."""
        try:
            with classify_failures():
                return self._query(
                    "/instances", **filters, includefield=list(fields), limit=limit, offset=offset
                )
        except ArchiveFailure as failure:
            if failure.reason != "http_404" or not (filters or offset):
                raise
        # Some archives answer 404 if nothing is found. At a wrong address, every search fails.
        if not offset:
            self.search({}, fields, limit=1, offset=0)
        return []


def tag_of(keyword: str) -> str:
    """Return the tag of an attribute as DICOM JSON writes it: "00080060" for "Modality"."""
    return f"{tag_for_keyword(keyword):08X}"


def first_value(item: DicomJson, keyword: str) -> str:
    """Return the first value of an attribute in DICOM JSON, "" if it has none (PS3.18 annex F)."""
    values = item.get(tag_of(keyword), {}).get("Value") or [""]
    return str(values[0] if values[0] is not None else "")


@contextmanager
def classify_failures(*, storing: bool = False) -> Iterator[None]:
    """Turn the errors of a request, and of reading its answer, into `ArchiveFailure`."""
    try:
        yield
    except AnswerTooLarge as error:
        raise ArchiveFailure(Fault.OBJECT, "too_large") from error
    except MalformedMultipart as error:
        raise ArchiveFailure(Fault.UNCLEAR, "incomplete_answer") from error
    except requests.exceptions.JSONDecodeError as error:
        raise ArchiveFailure(Fault.UNCLEAR, "unexpected_answer") from error
    except requests.RequestException as error:
        raise classify_error(error, storing=storing) from error
    except _UNEXPECTED as error:
        raise ArchiveFailure(Fault.UNCLEAR, "unexpected_answer") from error
