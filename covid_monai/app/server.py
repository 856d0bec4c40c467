"""The server that shows the page."""

import ipaddress
import logging

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from covid_monai.app import blobs, layout
from covid_monai.app.desk import Desk
from covid_monai.app.headers import SafeHeaders

_SECONDS_TO_RECONNECT = 5.0  # a visitor who is away longer has left: what they uploaded is freed


def create_app(desk: Desk) -> FastAPI:
    """The page at /, on one FastAPI application."""
    app = FastAPI(title="covid-monai", docs_url=None, redoc_url=None, openapi_url=None)

    app.add_middleware(SafeHeaders)
    blobs.add_route(app)

    @ui.page("/")
    def page() -> None:
        layout.build(desk)

    ui.run_with(
        app,
        title=layout.TITLE,
        dark=None,
        language="en-US",
        reconnect_timeout=_SECONDS_TO_RECONNECT,
        show_welcome_message=False,
    )
    return app


def serve(desk: Desk, *, host: str, port: int) -> None:
    """Serve the page until SIGTERM or Ctrl-C."""
    logging.getLogger("nicegui").setLevel(logging.WARNING)
    # No access log: it would say who looked at what, and when.
    uvicorn.run(create_app(desk), host=host, port=port, log_level="warning", access_log=False)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server on `host`.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
