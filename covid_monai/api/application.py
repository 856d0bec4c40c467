"""The REST service as a FastAPI application, with what stands around every request; see docs/rest.md."""

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from covid_monai import __version__
from covid_monai.api import openapi
from covid_monai.api.engine import Engine
from covid_monai.api.problems import HANDLERS, ProblemError, answer
from covid_monai.api.request_body import Fetch
from covid_monai.api.routes import ApiContext, router
from covid_monai.api.server import ServiceSettings
from covid_monai.api.uploads import MemoryBudget, Upload
from covid_monai.core.vocabulary import RESEARCH_USE

logger = logging.getLogger(__name__)

_PATHS = ("/v1/", "/health", "/docs", "/openapi.json", "/problems/")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Research-Use": RESEARCH_USE,
}
# FastAPI's documentation page starts Swagger UI by a script inside the page.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def create_api(
    engine: Engine,
    settings: ServiceSettings,
    budget: MemoryBudget,
    *,
    page_headers: Mapping[str, str] | None = None,
) -> FastAPI:
    """Create the application: /v1/predict, /v1/report, /v1/model, /health, /docs, /openapi.json.

    Args:
        engine: Engine that makes the predictions.
        settings: Settings of the service.
        budget: Memory budget of the process.
        page_headers: Headers of answers on all other paths, which belong to the page.
    """
    api = FastAPIOffline(
        title=openapi.TITLE,
        version=__version__,
        description=openapi.DESCRIPTION,
        redoc_url=None,
        static_url="/docs/files",
        # Without this, Swagger UI sends the address of the service to swagger.io.
        swagger_ui_parameters={"validatorUrl": None},
    )
    api.state.context = ApiContext(engine, settings, budget, _fetch(settings))
    api.include_router(router)
    for error, handler in HANDLERS.items():
        api.add_exception_handler(error, handler)
    api.add_middleware(Guard, loopback=settings.loopback, page_headers=page_headers or {})
    api.openapi = lambda: _describe(api)  # type: ignore[method-assign]  # as FastAPI's documentation says
    return api


def _fetch(settings: ServiceSettings) -> Fetch:
    if not settings.dicomweb_roots:
        return _refuse
    from covid_monai.api.dicomweb import InstanceFetcher

    return InstanceFetcher(
        settings.dicomweb_roots,
        max_object_bytes=settings.limits.max_file_bytes,
        seconds=settings.body_seconds,
    ).fetch


def _refuse(_: list[str]) -> Iterable[Upload]:
    raise ProblemError(
        "address-not-allowed",
        "This service fetches no images, because it was started without --dicomweb-root. Send the files.",
    )


def _describe(api: FastAPI) -> dict[str, Any]:
    if api.openapi_schema is None:
        found = get_openapi(
            title=api.title, version=api.version, description=api.description, routes=api.routes
        )
        api.openapi_schema = openapi.add_components(found)
    return api.openapi_schema


class Guard:
    """ASGI middleware around every request: host check, security headers, log line, unexpected errors.

    On other paths, which belong to the page, it checks the host and adds headers that are not set.

    Args:
        app: Application that it stands around.
        loopback: Whether to answer only to the names of loopback. A web page whose own name is made to lead
            to 127.0.0.1 (DNS rebinding) then gets nothing.
        page_headers: Headers of answers on other paths.
    """

    def __init__(self, app: ASGIApp, *, loopback: bool, page_headers: Mapping[str, str]) -> None:
        self._app = app
        self._loopback = loopback
        self._page_headers = page_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif self._loopback and _host(scope) not in _LOOPBACK:
            await _refuse_host(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith(_PATHS):
            await self._serve(scope, receive, send)
        else:
            await self._serve_page(scope, receive, send)

    async def _serve_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._page_headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin, status = time.monotonic(), 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, scope["path"])
            await send(message)

        try:
            await self._app(scope, receive, send_guarded)
        except ClientDisconnect:
            status = 499  # nginx logs this number too; no client is left to get an answer
        except Exception as error:  # its text may name a patient: only its type and place are logged
            logger.error("unexpected_failure", exc_info=error)
            if not status:
                detail = (
                    f"The service failed with a {type(error).__name__}. The log of the service has the place."
                )
                await answer(ProblemError("unexpected", detail))(scope, receive, send_guarded)
        fields = {"method": scope["method"], "route": _route(scope), "status": status}
        logger.info("answered", extra={**fields, "seconds": round(time.monotonic() - begin, 3)})


async def _refuse_host(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # "policy violation", RFC 6455 section 7.4.1
    else:
        detail = "This service answers on this machine only. Use http://localhost or http://127.0.0.1."
        await answer(ProblemError("other-host", detail))(scope, receive, send)


def _host(scope: Scope) -> str:
    return urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname or ""


def _route(scope: Scope) -> str | None:
    """Return the route as declared; the address itself may hold anything that a caller wrote."""
    return getattr(scope.get("route"), "path", None)


def _add_headers(message: Message, path: str) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in _HEADERS.items():
        headers[name] = value
    if path.startswith("/docs"):
        headers["Content-Security-Policy"] = _DOCS_POLICY
        del headers["Cache-Control"]
