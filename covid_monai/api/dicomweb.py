"""Images that a caller names by address, from the archives that the administrator allows and nowhere else."""

import re
from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from covid_monai.api.problems import ProblemError
from covid_monai.api.schemas import INSTANCE_PATH
from covid_monai.api.uploads import Upload, in_memory
from covid_monai.core.errors import require_extra

with require_extra("worker"):
    from covid_monai.pacs.client import ArchiveClient
    from covid_monai.pacs.failures import Trouble
    from covid_monai.worker.queue.queue import Job
    from covid_monai.worker.settings import Archive

_UIDS = re.compile(INSTANCE_PATH.replace("[0-9][0-9.]{0,63}", "([0-9][0-9.]{0,63})"))


class DicomWeb:
    """Fetches instances by WADO-RS.

    Of an address only its three UIDs are used: host, port and path are those of the root that it begins with,
    redirects are not followed, proxies of the environment are ignored. A caller therefore reaches nothing but
    instances of these archives (no server-side request forgery).

    Args:
        roots: DICOMweb services, such as https://pacs.example/dicom-web.
        max_object_bytes: Of one instance.
        seconds: Longest time for one instance.

    Raises:
        ValueError: If a root is no address.
    """

    def __init__(self, roots: Sequence[str], *, max_object_bytes: int, seconds: float) -> None:
        archives = [archive_at(root, seconds=seconds) for root in roots]
        self._clients = {
            archive.url: ArchiveClient(archive, max_object_bytes=max_object_bytes) for archive in archives
        }

    def fetch(self, addresses: Sequence[str]) -> Iterator[Upload]:
        """Fetch one instance after another; each upload is named by its address.

        Raises:
            ProblemError: At once if an address is not allowed; later if an instance cannot be had.
        """
        found = [self._find(address) for address in addresses]
        return (self._fetch(address, *place) for address, place in zip(addresses, found, strict=True))

    def _find(self, address: str) -> tuple[ArchiveClient, Job]:
        for root, client in self._clients.items():
            uids = _UIDS.fullmatch(address.removeprefix(root)) if address.startswith(f"{root}/") else None
            if uids is not None:
                study, series, instance = uids.groups()
                return client, Job(0, "dicomweb", study, series, instance, noticed=0, starts=1, attempts=0)
        raise ProblemError(
            "address-not-allowed",
            f"An address must be that of an instance below {' or '.join(self._clients)}.",
        )

    def _fetch(self, address: str, client: ArchiveClient, job: Job) -> Upload:
        with in_memory(Upload("", b"")) as path:
            try:
                client.fetch(job, path)
            except Trouble as trouble:
                raise ProblemError("archive", f"{address}: {trouble.reason}") from trouble
            return Upload(address, path.read_bytes())


def archive_at(root: str, *, seconds: float) -> Archive:
    """The archive whose DICOMweb service is at an address.

    Raises:
        ValueError: If it is no such address; names it.
    """
    try:
        return Archive(name="dicomweb", source="dicomweb", url=root, transfer_seconds=seconds)
    except ValidationError as error:
        raise ValueError(f"{root}: {error.errors()[0]['msg']}") from error
