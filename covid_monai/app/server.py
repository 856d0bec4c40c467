"""The page in the browser and the REST service as one application."""

from fastapi import FastAPI
from nicegui import ui

from covid_monai.api.application import create_api
from covid_monai.api.server import ServiceSettings
from covid_monai.app.pages import layout
from covid_monai.app.session import AppContext
from covid_monai.app.widgets import heatmap_viewer

_SECONDS_TO_RETURN = 5.0  # a visitor who is away longer has left: their images are removed
# Vue compiles its templates in the browser, which needs 'unsafe-eval'; NiceGUI starts with inline scripts.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(context: AppContext, *, loopback: bool) -> FastAPI:
    """Create the application: the page at /, and the REST service beside it, with one memory budget."""
    settings = ServiceSettings(limits=context.limits, loopback=loopback)
    app = create_api(context.model.engine, settings, context.budget, page_headers=_HEADERS)
    heatmap_viewer.add_route(app)

    @ui.page("/")
    def page() -> None:
        layout.build(context)

    ui.run_with(
        app,
        title=layout.TITLE,
        dark=None,
        language="en-US",
        reconnect_timeout=_SECONDS_TO_RETURN,
        show_welcome_message=False,
    )
    return app
