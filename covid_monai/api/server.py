"""The server of the REST service and of the page: its settings, its socket, its end by a signal."""

import contextlib
import ctypes
import gc
import signal
import socket
from dataclasses import dataclass, field

import uvicorn
from fastapi import FastAPI

from covid_monai.api.access import Access
from covid_monai.api.uploads import MIB, Limits

_STOP_SECONDS = 20
_MAX_CONNECTIONS = 1000
FETCH_SECONDS = 60.0  # default of `--fetch-seconds`


@dataclass(frozen=True)
class ServiceSettings:
    """Settings of the REST service."""

    limits: Limits = field(default_factory=Limits)
    body_seconds: float = 120.0  # for one body to arrive
    fetch_seconds: float = FETCH_SECONDS  # for one image from an archive
    dicomweb_roots: tuple[str, ...] = ()  # images may be fetched from these; empty switches fetching off
    access: Access = field(default_factory=Access)
    start_page: bool = True  # a page at /, where no other page is

    def __post_init__(self) -> None:
        if self.dicomweb_roots:  # checked here, before a model is loaded
            from covid_monai.api.dicomweb import connection_to

            for root in self.dicomweb_roots:
                connection_to(root, seconds=self.fetch_seconds)


def listen(host: str, port: int) -> socket.socket:
    """Open a socket that listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        reason = str(error.strerror).split(" (")[0]  # Python adds the address to some of them
        raise OSError(
            f"Cannot listen at {host}, port {port}: {reason}. Choose another --port, or give an "
            "address of this machine with --host."
        ) from error


def address_of(listening: socket.socket) -> str:
    """Return the address of a socket for a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _return_freed_memory() -> None:
    """Let glibc return blocks of a megabyte and more at once; it would keep those of up to 32 MiB for reuse.

    After 64 callers at the limit of the memory budget the process kept 470 MiB more than before them.
    """
    m_mmap_threshold = -3
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(m_mmap_threshold, MIB)


def server_config(app: FastAPI) -> uvicorn.Config:
    """Return the settings of the web server."""
    return uvicorn.Config(
        app,
        log_config=None,  # `covid_monai.core.json_log` has configured the log
        access_log=False,  # `guard.Guard` writes a line that names nobody
        server_header=False,
        proxy_headers=False,  # anybody on this machine could name any client in X-Forwarded-For
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


def run(app: FastAPI, listening: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way then have 20 seconds to finish.

    A second Ctrl-C ends the server at once.
    """
    _return_freed_memory()
    # `MemoryBudget` collects garbage when memory is short. Without the loaded modules to search, this takes
    # microseconds instead of 0.15 s.
    gc.freeze()
    # uvicorn raises the signal again when it has ended, which would make an ordered stop look like a crash.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(server_config(app)).run(sockets=[listening])
