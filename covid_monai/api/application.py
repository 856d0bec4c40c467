"""The REST service as a FastAPI application, with what stands around every request; see docs/rest.md."""

import logging
import time
from collections.abc import Iterable, Mapping
from functools import partial
from importlib import resources
from urllib.parse import urlsplit

import yaml
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from covid_monai import __version__
from covid_monai.api import openapi
from covid_monai.api.engine import Engine
from covid_monai.api.problems import REQUEST_ERRORS, ProblemError, answer, on_error
from covid_monai.api.request_body import Fetch
from covid_monai.api.routes import ApiContext, router
from covid_monai.api.server import ServiceSettings
from covid_monai.api.uploads import MemoryBudget, Upload
from covid_monai.core.vocabulary import RESEARCH_USE

logger = logging.getLogger(__name__)

_PATHS = ("/v1/", "/health", "/docs", "/openapi.json", "/problems/")
_HEADERS: dict[str, dict[str, str]] = yaml.safe_load(
    resources.files(__package__).joinpath("headers.yaml").read_text("utf-8")
)
for _area in ("service", "docs"):
    _HEADERS[_area]["X-Research-Use"] = RESEARCH_USE
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def create_api(engine: Engine, settings: ServiceSettings, budget: MemoryBudget) -> FastAPI:
    """Create the application: /v1/predict, /v1/report, /v1/model, /health, /docs, /openapi.json."""
    api = FastAPIOffline(
        title=openapi.TITLE,
        version=__version__,
        description=openapi.DESCRIPTION,
        redoc_url=None,
        static_url="/docs/files",
        # Without this, Swagger UI sends the address of the service to swagger.io.
        swagger_ui_parameters={"validatorUrl": None},
    )
    api.state.context = ApiContext(engine, settings, budget, _fetch(settings, budget))
    api.include_router(router)
    for error in REQUEST_ERRORS:
        api.add_exception_handler(error, on_error)
    api.add_middleware(Guard, loopback=settings.loopback)
    api.openapi = lambda: openapi.describe(api)  # type: ignore[method-assign]  # as FastAPI's documentation says
    return api


def _fetch(settings: ServiceSettings, budget: MemoryBudget) -> Fetch:
    if not settings.dicomweb_roots:
        return _refuse
    from covid_monai.api.dicomweb import InstanceFetcher

    return InstanceFetcher(
        settings.dicomweb_roots,
        budget,
        max_object_bytes=settings.limits.max_file_bytes,
        seconds=settings.fetch_seconds,
    ).fetch


def _refuse(_: list[str]) -> Iterable[Upload]:
    raise ProblemError(
        "address-not-allowed",
        "This service fetches no images, because it was started without --dicomweb-root. Send the files.",
    )


class Guard:
    """ASGI middleware around every request: host check, security headers, log line, unexpected errors.

    On other paths, which belong to the page, it checks the host and adds headers that are not set. On
    loopback it answers only to the names of loopback: a web page whose own name is made to lead to
    127.0.0.1 (DNS rebinding) gets nothing.
    """

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app, self._loopback = app, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif self._loopback and _host(scope) not in _LOOPBACK:
            await _refuse_host(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith(_PATHS):
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, partial(_send, send, _HEADERS["page"]))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin, status = time.monotonic(), 0
        headers = _HEADERS["docs" if scope["path"].startswith("/docs") else "service"]

        async def send_guarded(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await _send(send, headers, message)

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
        # The route as declared: the address itself may hold anything that a caller wrote.
        route = getattr(scope.get("route"), "path", None)
        fields = {"method": scope["method"], "route": route, "status": status}
        logger.info("answered", extra={**fields, "seconds": round(time.monotonic() - begin, 3)})


async def _send(send: Send, headers: Mapping[str, str], message: Message) -> None:
    """Send a message of an answer, with headers that are not set yet."""
    if message["type"] == "http.response.start":
        for name, value in headers.items():
            MutableHeaders(scope=message).setdefault(name, value)
    await send(message)


async def _refuse_host(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # "policy violation", RFC 6455 section 7.4.1
    else:
        detail = "This service answers on this machine only. Use http://localhost or http://127.0.0.1."
        await answer(ProblemError("other-host", detail))(scope, receive, send)


def _host(scope: Scope) -> str:
    return urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname or ""
