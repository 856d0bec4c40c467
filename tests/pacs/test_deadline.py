"""A server that drips bytes for ever, wherever in its answer, is given up in time."""

import socket
import time

import pytest
from pacs_helpers import dripping

from covid_monai.pacs.client import ArchiveClient
from covid_monai.pacs.connection import ArchiveConnection, InstanceAddress
from covid_monai.pacs.deadline import Deadline
from covid_monai.pacs.failures import ArchiveFailure

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom\r\n"
DRIPS = {
    "status line": b"HTTP/1.1 200 ",
    "header": b"HTTP/1.1 200 OK\r\nX: ",
    "body": HEAD + b"Content-Length: 1000000\r\n\r\n",
    "body without length": HEAD + b"\r\n",
    "size of a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;",
    "nothing": b"",
}


@pytest.mark.slow
@pytest.mark.parametrize("start", DRIPS.values(), ids=DRIPS)
def test_an_archive_that_drips_is_given_up_in_time(tmp_path, start):
    with dripping(start) as url, (tmp_path / "1.dcm").open("wb") as file:
        connection = ArchiveConnection(name="a", url=url, transfer_seconds=1)
        client, begin = ArchiveClient(connection, max_object_bytes=10_000_000), time.monotonic()
        with pytest.raises(ArchiveFailure, match="ReadTimeout"):
            client.fetch(InstanceAddress("1.1", "1.2", "1.3"), file)
        assert time.monotonic() - begin < 3


def test_an_answer_in_time_is_read_and_the_connection_keeps_its_own_timeout():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nimage")
        ours.settimeout(7)
        deadline = Deadline()
        deadline.start(2)
        answer = deadline.response_class(ours)
        answer.begin()
        assert answer.read() == b"image"
        assert ours.gettimeout() == 7
        assert 1 < deadline.left() <= 2
        deadline.start(0)
        with pytest.raises(TimeoutError):
            deadline.left()
        with pytest.raises(TimeoutError):
            deadline.response_class(ours).begin()
