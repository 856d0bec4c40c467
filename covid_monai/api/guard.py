"""Around every request: security headers, the right host, a log line that names nobody, no escaped error."""

import logging
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from covid_monai.api.problems import ProblemError, answer
from covid_monai.core.vocabulary import RESEARCH_USE

logger = logging.getLogger(__name__)

PATHS = ("/v1/", "/health", "/docs", "/openapi.json", "/problems/")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Research-Use": RESEARCH_USE,
}
# The page of FastAPI starts Swagger UI by a script in the page itself.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """ASGI middleware for the paths of the service; of others only the host is checked.

    Args:
        app: What it is around.
        loopback: Whether to answer only to the names of loopback: a page on the web whose own name is made
            to lead to 127.0.0.1 (DNS rebinding) gets nothing.
    """

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app = app
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif self._loopback and _host(scope) not in _LOOPBACK:
            await _turn_away(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith(PATHS):
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

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
            status = 499  # as nginx writes it: nobody is there to be answered
        except Exception as error:  # its text may name a patient: only its kind and place are logged
            logger.error("unexpected_failure", exc_info=error)
            if not status:
                problem = answer(
                    ProblemError("unexpected", f"A {type(error).__name__}; see the service's log.")
                )
                await problem(scope, receive, send_guarded)
        fields = {"method": scope["method"], "route": _route(scope), "status": status}
        logger.info("answered", extra={**fields, "seconds": round(time.monotonic() - begin, 3)})


async def _turn_away(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # "policy violation", RFC 6455 section 7.4.1
    else:
        problem = ProblemError("other-host", "Use http://localhost or http://127.0.0.1.")
        await answer(problem)(scope, receive, send)


def _host(scope: Scope) -> str:
    return urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname or ""


def _route(scope: Scope) -> str | None:
    """The route as it is declared; never the address itself, which callers may write anything into."""
    return getattr(scope.get("route"), "path", None)


def _add_headers(message: Message, path: str) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in _HEADERS.items():
        headers[name] = value
    if path.startswith("/docs"):
        headers["Content-Security-Policy"] = _DOCS_POLICY
        del headers["Cache-Control"]
