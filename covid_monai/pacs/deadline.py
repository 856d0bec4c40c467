"""HTTP answers that must be complete at a given time, however slowly their bytes come."""

import io
import socket
import threading
import time
from http.client import HTTPResponse
from typing import Any


class Deadline(threading.local):
    """Time at which an answer must be complete, for each thread.

    The timeout of a socket holds between two packets only. A server that sends one byte after another, in a
    header or in the size of a chunk, keeps a caller of `http.client` for ever.
    """

    seconds = end = float("inf")

    def start(self, seconds: float) -> None:
        """Let the time end so many seconds from now."""
        self.seconds, self.end = seconds, time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, or raise `TimeoutError`."""
        return _left(self.end)

    def response_class(self, sock: socket.socket, *arguments: Any, **options: Any) -> HTTPResponse:
        """Make the answer on a connection (its `response_class`); a read too late raises `TimeoutError`."""
        response = HTTPResponse(sock, *arguments, **options)
        response.fp = io.BufferedReader(_TimedReader(response.fp, sock, self.end))
        return response


class _TimedReader(io.RawIOBase):
    def __init__(self, file: io.BufferedReader, sock: socket.socket, end: float) -> None:
        self._file, self._socket, self._end = file.detach(), sock, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left, between_packets = _left(self._end), self._socket.gettimeout()
        self._socket.settimeout(left if between_packets is None else min(left, between_packets))
        try:
            read: int | None = self._file.readinto(buffer)
        finally:
            self._socket.settimeout(between_packets)  # the connection may be used again
        return read

    def close(self) -> None:
        self._file.close()
        super().close()


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("The answer is not complete in time.")
    return left
