"""The page in the browser and the REST service as one application."""

from fastapi import FastAPI
from nicegui import ui
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
    """Create the application: the page at /, and the REST service beside it, with one memory budget.

    Args:
        context: Models and limits of the page; its first model answers under /v1.
        loopback: Whether to answer only to the names of loopback.
    """
    settings = ServiceSettings(limits=context.limits, loopback=loopback)
    app = create_api(context.model.engine, settings, context.budget)
    app.add_middleware(PageHeaders)
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


class PageHeaders:
    """ASGI middleware with the page's security headers: nothing is loaded from or shown in other sites.

    A header that an answer has set itself stays.

    Args:
        app: Application that it stands around.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
