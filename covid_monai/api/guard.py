"""What stands around every request: access, security headers, one log line, unexpected errors."""

import logging
import time
from collections.abc import Mapping
from functools import partial
from importlib import resources

import yaml
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from covid_monai.api.access import Access
from covid_monai.api.problems import ProblemError, answer
from covid_monai.core.vocabulary import RESEARCH_USE

logger = logging.getLogger(__name__)

_PATHS = ("/v1/", "/health", "/docs", "/openapi.json", "/problems/")
_HEADERS: dict[str, dict[str, str]] = yaml.safe_load(
    resources.files(__package__).joinpath("headers.yaml").read_text("utf-8")
)
for _area in ("service", "docs"):
    _HEADERS[_area]["X-Research-Use"] = RESEARCH_USE


class Guard:
    """ASGI middleware around every request and every WebSocket of the service and of the page.

    It refuses what `Access` refuses. It adds headers that are not set. For the paths of the service it also
    writes a log line, and answers unexpected errors.
    """

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        # Anybody can send these, and NiceGUI would believe some of them.
        scope["headers"] = [one for one in scope["headers"] if b"forwarded" not in one[0].lower()]
        try:
            caller = self._access.check(scope)
        except ProblemError as problem:
            logger.info("refused", extra={"reason": problem.kind, "status": problem.status_code})
            await answer(problem)(scope, receive, partial(_send, send, _HEADERS["service"]))
            return
        if scope["type"] == "http" and scope["path"].startswith(_PATHS):
            await self._serve(scope, receive, send, caller)
        else:
            await self._app(scope, receive, partial(_send, send, _HEADERS["page"]))

    async def _serve(self, scope: Scope, receive: Receive, send: Send, caller: str | None) -> None:
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
        fields = {"method": scope["method"], "route": route, "status": status, "caller": caller}
        logger.info("answered", extra={**fields, "seconds": round(time.monotonic() - begin, 3)})


async def _send(send: Send, headers: Mapping[str, str], message: Message) -> None:
    """Send a message of an answer, with headers that are not set yet."""
    if message["type"].endswith("http.response.start"):  # also that of a WebSocket which is refused
        for name, value in headers.items():
            MutableHeaders(scope=message).setdefault(name, value)
    await send(message)
