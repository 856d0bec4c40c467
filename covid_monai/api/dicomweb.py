"""Images that a caller names by address, fetched only from the archives that the administrator allows."""

from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from covid_monai.api.problems import ProblemError
from covid_monai.api.uploads import Upload, in_memory
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

    def __init__(self, roots: Sequence[str], *, max_object_bytes: int, seconds: float) -> None:
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
        with in_memory(Upload("", b"")) as path:
            try:
                client.fetch(address, path)
            except ArchiveFailure as failure:
                raise ProblemError("archive", f"{url} cannot be fetched: {failure.reason}.") from failure
            return Upload(url, path.read_bytes())


def connection_to(root: str, *, seconds: float) -> ArchiveConnection:
    """Return the connection to a DICOMweb service; a `ValueError` names a root that is not an address."""
    try:
        return ArchiveConnection(name="dicomweb", url=root, transfer_seconds=seconds)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{root} is not the address of a DICOMweb service: {message}.") from error
