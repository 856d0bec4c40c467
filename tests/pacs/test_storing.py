"""Store transaction: whose fault each answer of STOW-RS is; test_orthanc.py has an archive with a full disk.

The texts of the failure reasons are those of PS3.18 table I.2-2 and PS3.7 annex C. The XML is what
dicomweb-client's own reader takes.
"""

import json
from xml.etree.ElementTree import fromstring

import pytest
import requests
from dicom_helpers import make_ds, picture
from dicomweb_client.web import _load_xml_dataset
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from covid_monai.pacs.failures import ArchiveFailure, Fault
from covid_monai.pacs.multipart import MultipartReader
from covid_monai.pacs.storing import STORE_HEADERS, check_stored, file_of, store_message

SENT = ["1.1", "1.2"]
XML = """<?xml version="1.0" encoding="UTF-8"?>
<NativeDicomModel{space}><DicomAttribute tag="{tag}" vr="SQ" keyword="{keyword}"><Item number="1">
<DicomAttribute tag="00081155" vr="UI" keyword="ReferencedSOPInstanceUID"><Value number="1">1.2</Value>
</DicomAttribute><DicomAttribute tag="00081197" vr="US" keyword="FailureReason">
<Value number="1">{reason}</Value></DicomAttribute></Item></DicomAttribute></NativeDicomModel>"""


def response(body=b"", status=200, kind="application/dicom+json"):
    found = requests.Response()
    found.status_code, found._content = status, body if isinstance(body, bytes) else json.dumps(body).encode()
    found.headers["Content-Type"] = kind
    return found


def items(*uids, reason=None):
    more = {} if reason is None else {"00081197": {"vr": "US", "Value": [reason]}}
    return {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}, **more} for uid in uids]}


def failed(reason, *uids):
    return {"00081198": items(*uids or ("1.2",), reason=reason), "00081199": items("1.1")}


def outcome(answer):
    try:
        check_stored(answer, SENT)
    except ArchiveFailure as failure:
        return failure.fault, failure.reason
    return "stored"


@pytest.mark.parametrize("status", [200, 202, 409])
@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        (0xA700, Fault.ARCHIVE),  # refused: out of resources
        (0xA7FF, Fault.ARCHIVE),
        (0x0124, Fault.ARCHIVE),  # not authorised
        (0x0213, Fault.ARCHIVE),  # resource limitation
        (0xA900, Fault.OBJECT),  # data set does not match SOP Class
        (0xA9FF, Fault.OBJECT),
        (0xC000, Fault.OBJECT),  # cannot understand
        (0xCFFF, Fault.OBJECT),
        (0x0106, Fault.OBJECT),  # invalid attribute value
        (0x0117, Fault.OBJECT),  # invalid object instance
        (0x0121, Fault.OBJECT),  # missing attribute value
        (0x0110, Fault.UNCLEAR),  # processing failure: also for a full disk
        (0x0122, Fault.UNCLEAR),  # referenced SOP Class not supported
        (0xC122, Fault.UNCLEAR),  # referenced transfer syntax not supported
        (0x0112, Fault.UNCLEAR),  # no such object instance
        (0x0118, Fault.UNCLEAR),  # no such SOP Class
        (0xFE00, Fault.UNCLEAR),  # cancelled
        (0x4711, Fault.UNCLEAR),  # of nobody's table
    ],
)
def test_each_failure_reason_has_its_fault(status, reason, fault):
    assert outcome(response(failed(reason), status)) == (fault, f"store_failed_{reason:04x}")
    for space in ("", ' xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM"'):
        text = XML.format(space=space, tag="00081198", keyword="FailedSOPSequence", reason=reason)
        assert outcome(response(text.encode(), status, "application/dicom+xml"))[0] is fault


def test_the_xml_of_these_tests_is_a_native_dicom_model():
    text = XML.format(space="", tag="00081198", keyword="FailedSOPSequence", reason=0x0110)
    assert _load_xml_dataset(fromstring(text)).FailedSOPSequence[0].FailureReason == 0x0110


@pytest.mark.parametrize(
    "kind", ["application/dicom+json; charset=utf-8", "application/json", "text/plain", ""]
)
def test_the_answer_is_read_whatever_its_media_type(kind):
    assert outcome(response(failed(0x0110), 409, kind)) == (Fault.UNCLEAR, "store_failed_0110")
    assert outcome(response({"00081199": items(*SENT)}, 200, kind)) == "stored"


def test_the_gravest_failure_of_several_counts():
    both = {"00081198": {"vr": "SQ", "Value": items("1.1", reason=0xA900)["Value"]}}
    both["00081198"]["Value"] += items("1.2", reason=0x0110)["Value"]
    assert outcome(response(both, 409))[0] is Fault.UNCLEAR
    both["0008119A"] = {
        "vr": "SQ",
        "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}],
    }  # of no instance
    assert outcome(response(both, 409)) == (Fault.ARCHIVE, "store_failed_a700")
    assert outcome(response(failed(0xA900), 507)) == (Fault.ARCHIVE, "http_507")


@pytest.mark.parametrize("reason", [None, "", "text", -1, 1e300, "9" * 5000])
def test_a_failure_without_a_reason_is_unclear(reason):
    assert outcome(response(failed(reason))) == (Fault.UNCLEAR, "store_failed_0000")


def test_what_is_stored_with_a_warning_or_was_there_already_is_stored():
    coerced = items(*SENT)
    for item in coerced["Value"]:
        item["00081196"] = {"vr": "US", "Value": [0xB000]}
    assert outcome(response({"00081199": coerced}, 202)) == "stored"
    assert outcome(response(failed(0x0111), 409)) == "stored"


@pytest.mark.parametrize(
    "answer",
    [
        {"00081199": items("1.1")},
        {"00081199": items("1.3", "1.4")},
        {"00081198": {"vr": "SQ"}, "00081199": {"vr": "SQ"}},  # Orthanc 1.10 with a full disk
    ],
)
def test_an_instance_that_the_answer_does_not_name_may_not_be_stored(answer):
    assert outcome(response(answer)) == (Fault.UNCLEAR, "store_not_acknowledged")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"OK", b"<html><body>OK</body></html>", b"[1]", b"null", b"<", b"{"]
)
def test_without_an_answer_that_can_be_read_the_status_decides(body):
    assert outcome(response(body)) == "stored"  # and a search must find the objects
    assert outcome(response(body, 409)) == (Fault.UNCLEAR, "http_409")


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        *((status, Fault.ARCHIVE) for status in (401, 403, 404, 410, 429, 502, 503, 504, 507)),
        *((status, Fault.UNCLEAR) for status in (400, 406, 409, 411, 413, 415, 422, 500, 501)),
    ],
)
def test_no_status_alone_says_that_one_object_is_at_fault(status, fault):
    assert outcome(response(status=status)) == (fault, f"http_{status}")


def test_a_message_holds_each_object_in_a_part_of_its_own():
    parts = []

    def open_part(headers):
        parts.append((headers, bytearray()))
        return parts[-1][1].extend

    sent = [make_ds(picture()) for _ in range(2)]
    for ds in sent:
        ds.preamble = bytes(128)
    reader = MultipartReader(STORE_HEADERS["Content-Type"], open_part)
    reader.write(store_message(map(file_of, sent)))
    reader.close()
    assert [headers[b"content-type"] for headers, _ in parts] == [b"application/dicom"] * 2
    received = [dcmread(DicomBytesIO(bytes(content))).SOPInstanceUID for _, content in parts]
    assert received == [ds.SOPInstanceUID for ds in sent]
