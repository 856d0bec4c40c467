"""An application on a socket until a signal ends it; the page in the browser is served so too."""

import ipaddress
import signal
import socket

import uvicorn
from fastapi import FastAPI

_STOP_SECONDS = 20
_MAX_CONNECTIONS = 1000


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own, reached from nowhere else.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("pacs.example")
    (True, True, False, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: Address or name of this machine.
        port: 0 takes a free one.

    Raises:
        OSError: Names the address and the way out.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise OSError(
            f"cannot listen at {host} port {port} ({error.strerror}): give another --port, or an address of "
            "this machine with --host."
        ) from error


def address_of(listening: socket.socket) -> str:
    """Its address for a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, listening: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C; what is under way then has some seconds to finish.

    A second Ctrl-C ends it at once.
    """
    config = uvicorn.Config(
        app,
        log_config=None,  # as the process has set it up: `covid_monai.core.json_log`
        access_log=False,  # `guard` writes a line that names nobody
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    # uvicorn raises the signal again when it has ended, which would make an ordered stop look like a crash.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run(sockets=[listening])
