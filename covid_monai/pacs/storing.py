"""Store transaction (STOW-RS, PS3.18 section 10.5): the message that is sent, and what its answer means."""

from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import Any
from xml.etree import ElementTree as ET

import requests
from pydicom import Dataset, dcmwrite

from covid_monai.pacs.failures import ArchiveFailure, Fault, classify_error

_BOUNDARY = "covid-monai-0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1"
STORE_HEADERS = {
    "Content-Type": f'multipart/related; type="application/dicom"; boundary="{_BOUNDARY}"',
    "Accept": "application/dicom+json",
}
_STORED_SEQUENCE, _FAILED_SEQUENCES = "00081199", ("00081198", "0008119A")  # the last: Other Failures
_SOP_INSTANCE_UID, _FAILURE_REASON = "00081155", "00081197"
_DUPLICATE = 0x0111  # the archive has the object already
# Failure Reason (PS3.18 table I.2-2, PS3.7 annex C): first and last value. All others do not tell whose fault
# it is: 0110 (processing failure) may be a full disk, 0122 or C122 a setting of the archive.
_FAULTS = (
    (0x0105, 0x0107, Fault.OBJECT),  # an attribute or its value is wrong
    (0x0117, 0x0117, Fault.OBJECT),  # invalid object instance
    (0x0120, 0x0121, Fault.OBJECT),  # an attribute or its value is missing
    (0xA900, 0xA9FF, Fault.OBJECT),  # the data set does not match the SOP Class
    (0xC000, 0xC121, Fault.OBJECT),  # cannot understand
    (0xC123, 0xCFFF, Fault.OBJECT),
    (0x0124, 0x0124, Fault.ARCHIVE),  # not authorised
    (0x0213, 0x0213, Fault.ARCHIVE),  # resource limitation
    (0xA700, 0xA7FF, Fault.ARCHIVE),  # out of resources
)
_GRAVEST_FIRST = (Fault.ARCHIVE, Fault.UNCLEAR, Fault.OBJECT)

Values = dict[str, str]  # first value of each element in an item, by tag
Item = tuple[str, Values]  # tag of the sequence, and its item


def store_message(files: Iterable[bytes]) -> bytes:
    """Return the body of a request that stores DICOM files."""
    head = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join([*(head + file + b"\r\n" for file in files), f"--{_BOUNDARY}--\r\n".encode()])


def file_of(ds: Dataset) -> bytes:
    """Return the bytes of an object as a DICOM file."""
    file = BytesIO()
    dcmwrite(file, ds)
    return file.getvalue()


def check_stored(response: requests.Response, sop_instance_uids: Sequence[str]) -> None:
    """Check that the answer of STOW-RS names every instance that was sent (PS3.18 section 10.5.3, annex I.2).

    After a success without an answer that can be read, only a search can tell.

    Raises:
        ArchiveFailure: If an instance failed, or is not named. The gravest failure counts: while the archive
            is in trouble, nothing is the fault of an object.
    """
    items = _items_in(response)
    failed = [_failure_reason(values) for tag, values in items or () if tag in _FAILED_SEQUENCES]
    failures = [_failure_of(reason) for reason in failed if reason != _DUPLICATE]
    if not response.ok:
        by_status = classify_error(requests.HTTPError(response=response), storing=True)
        failures += [by_status] if by_status.fault is Fault.ARCHIVE or not failed else []
    if failures:
        raise min(failures, key=lambda failure: _GRAVEST_FIRST.index(failure.fault))
    named = {values.get(_SOP_INSTANCE_UID) for _, values in items or ()}
    if items is not None and not named >= set(sop_instance_uids):
        raise ArchiveFailure(Fault.UNCLEAR, "store_not_acknowledged")


def _failure_reason(values: Values) -> int:
    value = values.get(_FAILURE_REASON, "")
    return int(value) if value.isdecimal() and len(value) <= 5 else 0


def _failure_of(reason: int) -> ArchiveFailure:
    faults = [fault for first, last, fault in _FAULTS if first <= reason <= last]
    return ArchiveFailure(faults[0] if faults else Fault.UNCLEAR, f"store_failed_{reason:04x}")


def _items_in(response: requests.Response) -> list[Item] | None:
    """Return the items of the answer; None if it cannot be read, or has none of the sequences.

    It may be DICOM JSON (PS3.18 annex F) or the Native DICOM Model (XML, PS3.19 annex A.1).
    """
    try:
        if response.content.lstrip().startswith(b"<"):
            sequences = _sequences_in_xml(ET.fromstring(response.content))  # noqa: S314 (expat limits entities)
        else:
            sequences = _sequences_in_json(response.json())
        found = {
            tag: list(items) for tag, items in sequences if tag in (_STORED_SEQUENCE, *_FAILED_SEQUENCES)
        }
    except (ET.ParseError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return [(tag, item) for tag, items in found.items() for item in items] if found else None


def _sequences_in_json(answer: Any) -> Iterator[tuple[str, Iterator[Values]]]:
    for tag, sequence in answer.items():
        items = sequence.get("Value") or []
        yield tag, ({key: str((one.get("Value") or [""])[0]) for key, one in item.items()} for item in items)


def _sequences_in_xml(root: ET.Element) -> Iterator[tuple[str, Iterator[Values]]]:
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # with a name space or without
    for sequence in root.iterfind("DicomAttribute"):
        items = (item.iterfind("DicomAttribute") for item in sequence.iterfind("Item"))
        values = (
            {one.get("tag", ""): (one.findtext("Value") or "").strip() for one in item} for item in items
        )
        yield sequence.get("tag", ""), values
