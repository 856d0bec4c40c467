"""The page in the browser and the REST service on one application."""

from fastapi import FastAPI
from nicegui import ui

from covid_monai.api.api import Settings, create_api
from covid_monai.app import blobs
from covid_monai.app.desk import Desk
from covid_monai.app.headers import SafeHeaders
from covid_monai.app.pages import layout

SECONDS_TO_RETURN = 5.0  # a visitor who is away longer has left: what they uploaded is freed


def create_app(desk: Desk, *, loopback: bool) -> FastAPI:
    """The page at /, and beside it what `covid_monai.api.api` serves, with the same engine and limits.

    Args:
        desk: What the page works with; its first model answers under /v1.
        loopback: Whether to answer only to the names of loopback.
    """
    app = create_api(desk.model.engine, Settings(limits=desk.limits, loopback=loopback))
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
        reconnect_timeout=SECONDS_TO_RETURN,
        show_welcome_message=False,
    )
    return app
