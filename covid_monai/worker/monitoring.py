"""`/metrics` and `/healthz` over HTTP, on loopback unless told otherwise."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

Health = Callable[[], tuple[bool, dict]]


class MonitoringServer:
    """A server in a thread of its own.

    Args:
        host: Address to listen at.
        port: 0 takes a free one.
        registry: What `/metrics` shows.
        health: Whether the service works, and what `/healthz` says.

    Raises:
        OSError: If the port is taken.
    """

    def __init__(self, host: str, port: int, *, registry: CollectorRegistry, health: Health) -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(registry, health))
        self._server.daemon_threads = True
        thread = threading.Thread(target=self._server.serve_forever, name="monitoring", daemon=True)
        thread.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _handler(registry: CollectorRegistry, health: Health) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds for a caller that says nothing

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._send(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif self.path == "/healthz":
                well, body = health()
                self._send(200 if well else 503, "application/json", json.dumps(body).encode() + b"\n")
            else:
                self._send(404, "text/plain", b"/healthz or /metrics\n")

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing: who asks for metrics is no event."""

    return Handler
