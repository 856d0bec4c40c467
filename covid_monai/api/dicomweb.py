"""Images that a caller names by address, fetched only from the archives that the administrator allows."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import requests
from pydantic import ValidationError

from covid_monai.api.problems import ProblemError
from covid_monai.api.uploads import Arrival, MemoryBudget, Upload, UploadError
from covid_monai.core.errors import require_extra

with require_extra("worker"):
    from covid_monai.pacs.client import ArchiveClient
    from covid_monai.pacs.connection import ArchiveConnection, InstanceAddress
    from covid_monai.pacs.failures import ArchiveFailure


class InstanceFetcher:
    """Fetch instances by WADO-RS.

    Only the three UIDs of an address are used: host, port and path are those of the root that it begins with.
    Redirects are not followed, and proxies of the environment are ignored. A caller therefore reaches nothing
    but instances of these archives (no server-side request forgery).

    Raises:
        ValueError: If a root is not an address.
    """

    def __init__(
        self, roots: Sequence[str], budget: MemoryBudget, *, max_object_bytes: int, seconds: float
    ) -> None:
        self._budget, self._seconds = budget, seconds
        connections = [connection_to(root, seconds=seconds) for root in roots]
        self._clients = {
            connection.url: ArchiveClient(connection, max_object_bytes=max_object_bytes)
            for connection in connections
        }

    def fetch(self, urls: Sequence[str]) -> Iterator[Upload]:
        """Fetch one instance after another; each upload has its address as its name.

        A `ProblemError` comes at once if an address is not allowed, and later if a fetch fails.
        """
        found = [self._find(url) for url in urls]
        return (self._fetch(url, *place) for url, place in zip(urls, found, strict=True))

    def _find(self, url: str) -> tuple[ArchiveClient, InstanceAddress]:
        for root, client in self._clients.items():
            address = InstanceAddress.from_path(url.removeprefix(root)) if url.startswith(root) else None
            if address is not None:
                return client, address
        raise ProblemError(
            "address-not-allowed",
            f"This is not the address of an instance below {' or '.join(self._clients)}.",
        )

    def _fetch(self, url: str, client: ArchiveClient, address: InstanceAddress) -> Upload:
        with self._budget.arrival() as arrival, _CountedFile(arrival) as file:
            try:
                client.fetch(address, file)
            except ArchiveFailure as failure:
                if isinstance(failure.__cause__, UploadError):
                    raise failure.__cause__ from None
                raise self._problem(url, failure) from failure
            return arrival.keep(Upload(url, file.getvalue()))

    def _problem(self, url: str, failure: ArchiveFailure) -> ProblemError:
        if not isinstance(failure.__cause__, requests.Timeout):
            return ProblemError("archive", f"{url} cannot be fetched: {failure.reason}.")
        limit = f"{self._seconds:g} s (--fetch-seconds)"
        return ProblemError("archive-too-slow", f"{url} did not arrive in time: the limit is {limit}.")


class _CountedFile(BytesIO):
    """File in memory whose bytes count while they arrive."""

    def __init__(self, arrival: Arrival) -> None:
        super().__init__()
        self._arrival = arrival

    def write(self, piece: Any) -> int:
        self._arrival.add(memoryview(piece).nbytes)
        return super().write(piece)


def connection_to(root: str, *, seconds: float) -> ArchiveConnection:
    """Return the connection to a DICOMweb service; a `ValueError` names a root that is not an address."""
    try:
        between_packets = min(20.0, seconds)
        return ArchiveConnection(
            name="dicomweb", url=root, timeout_seconds=between_packets, transfer_seconds=seconds
        )
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{root} is not the address of a DICOMweb service: {message}.") from error
