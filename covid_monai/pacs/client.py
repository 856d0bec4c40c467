"""What the service asks of an archive: fetch an image, store results, see that they stand there."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom import Dataset

from covid_monai.pacs.failures import Fault, Trouble, trouble_of
from covid_monai.pacs.multipart import BadAnswer, write_only_part
from covid_monai.pacs.session import ArchiveSession, TooMuch, bounded
from covid_monai.worker.queue.queue import Job
from covid_monai.worker.settings import Archive

# As stored: transcoding costs the archive time, and crashes some (Orthanc 1.10 with JPEG 2000).
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_OUT_OF_RESOURCES = range(0xA700, 0xA800)  # Failure Reason (0008,1197), PS3.4 table B.2-1 and PS3.18 I.2.2
_DUPLICATE = 0x0111


class ArchiveClient:
    """DICOMweb with one archive.

    Args:
        archive: Which.
        max_object_bytes: Of a fetched object.
    """

    def __init__(self, archive: Archive, *, max_object_bytes: int) -> None:
        self.archive = archive
        self.session = ArchiveSession(archive)
        self._max_object_bytes = max_object_bytes
        self.dicomweb = DICOMwebClient(
            archive.dicomweb, session=self.session, timeout=archive.timeout_seconds
        )
        self.dicomweb.set_http_retry_params(retry=False)  # when to try again is the service's matter

    def fetch(self, job: Job, path: Path) -> None:
        """Retrieve an instance as it is stored, by WADO-RS.

        Raises:
            Trouble: If it could not be had whole.
            OSError: If the file cannot be written.
        """
        url = f"{self.archive.dicomweb}/studies/{job.study}/series/{job.series}/instances/{job.instance}"
        with _troubles(), self.session.get(url, headers={"Accept": AS_STORED}, stream=True) as response:
            response.raise_for_status()
            seconds = self.archive.transfer_seconds
            pieces = bounded(response, limit=self._max_object_bytes, seconds=seconds)
            write_only_part(pieces, response.headers, path)

    def store(self, objects: Sequence[Dataset]) -> None:
        """Store objects of one study, by STOW-RS.

        Raises:
            Trouble: If the archive did not take each of them.
        """
        study = str(objects[0].StudyInstanceUID)
        with _troubles(storing=True):
            try:
                answer = self.dicomweb.store_instances(objects, study_instance_uid=study)
            except requests.HTTPError as error:
                answer = _answer_of(error)
        check_stored(answer, [str(ds.SOPInstanceUID) for ds in objects])

    def confirm(self, objects: Sequence[Dataset], *, stopped: Callable[[float], bool]) -> None:
        """Wait until QIDO-RS finds each object where it belongs.

        Args:
            objects: As stored.
            stopped: Waits so many seconds, and tells whether the service is to stop.

        Raises:
            Trouble: If one is not found in time.
        """
        end = time.monotonic() + self.archive.confirm_seconds
        missing = list(objects)
        while missing := [ds for ds in missing if not self.holds(ds)]:
            if time.monotonic() > end or stopped(0.5):
                raise Trouble(Fault.UNCLEAR, "not_found_after_storing")

    def holds(self, ds: Dataset) -> bool:
        """Whether the archive finds the object in its study and series."""
        with _troubles(storing=True):
            found = self.dicomweb.search_for_instances(
                str(ds.StudyInstanceUID),
                str(ds.SeriesInstanceUID),
                search_filters={"SOPInstanceUID": str(ds.SOPInstanceUID)},
            )
        return any(value_of(item, "00080018") == ds.SOPInstanceUID for item in found)

    def get_json(self, path: str, **parameters: str | int) -> dict:
        """An answer of Orthanc's own API.

        Raises:
            Trouble: If there is none.
        """
        with _troubles():
            response = self.session.get(f"{self.archive.url}{path}", params=parameters)
            response.raise_for_status()
            return response.json()

    def search(
        self, filters: dict[str, str], fields: Sequence[str], *, limit: int, offset: int
    ) -> list[dict]:
        """One page of instances, by QIDO-RS.

        Raises:
            Trouble: If there is no answer.
        """
        with _troubles():
            return self.dicomweb.search_for_instances(
                search_filters=filters, fields=fields, limit=limit, offset=offset
            )


def value_of(item: dict, tag: str) -> str:
    """First value of an attribute in DICOM JSON, "" if it has none (PS3.18 annex F)."""
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0] if values[0] is not None else "")


def check_stored(answer: Dataset | None, instances: Sequence[str]) -> None:
    """Hold the answer of STOW-RS against what was sent (PS3.18 section 10.5.3, annex I.2).

    Args:
        answer: None if it had no body that can be read: then only a look can tell.
        instances: SOP Instance UIDs.

    Raises:
        Trouble: If one failed, or is not named.
    """
    if answer is None or not ("ReferencedSOPSequence" in answer or "FailedSOPSequence" in answer):
        return
    for item in answer.get("FailedSOPSequence") or []:
        reason = int(item.get("FailureReason") or 0)
        if reason in _OUT_OF_RESOURCES:
            raise Trouble(Fault.ARCHIVE, f"store_failed_{reason:04x}")
        if reason != _DUPLICATE:
            raise Trouble(Fault.OBJECT if reason else Fault.UNCLEAR, f"store_failed_{reason:04x}")
    stored = {str(item.get("ReferencedSOPInstanceUID")) for item in answer.get("ReferencedSOPSequence") or []}
    duplicates = {str(item.get("ReferencedSOPInstanceUID")) for item in answer.get("FailedSOPSequence") or []}
    if not stored | duplicates >= set(instances):
        raise Trouble(Fault.UNCLEAR, "store_not_acknowledged")


def _answer_of(error: requests.HTTPError) -> Dataset:
    """The body of a refusal that names instances; else the refusal itself."""
    try:
        answer = Dataset.from_json(error.response.json())  # type: ignore[union-attr]
        named = bool(answer.get("FailedSOPSequence"))
    except Exception:  # no JSON, or not DICOM's: pydicom raises many types
        named = False
    if not named:
        raise error
    return answer


@contextmanager
def _troubles(*, storing: bool = False) -> Iterator[None]:
    try:
        yield
    except TooMuch as error:
        raise Trouble(Fault.OBJECT, "too_large") from error
    except BadAnswer as error:
        raise Trouble(Fault.UNCLEAR, "half_an_answer") from error
    except requests.RequestException as error:
        raise trouble_of(error, storing=storing) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # a body of another shape
        raise Trouble(Fault.UNCLEAR, "unexpected_answer") from error
