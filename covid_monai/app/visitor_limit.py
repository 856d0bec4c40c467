"""A bound on the pages in memory: NiceGUI builds one for each load, even if no browser connects to it."""

import time

from nicegui import Client
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

MAX_WAITING = 64  # loaded, but without a connection; a page takes about 0.7 MiB
MAX_VISITORS = 256  # with those who are connected
_RETRY_SECONDS = 30


class VisitorLimit:
    """ASGI middleware: the oldest pages without a connection make room; a full server says so.

    A program that only loads pages thereby removes its own, and keeps no visitor out. A browser whose page
    was removed before it could connect loads the page again by itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            _remove_oldest()
            if scope["path"] == "/" and len(Client.instances) >= MAX_VISITORS:
                words = (
                    f"The page has {MAX_VISITORS} visitors, as many as it serves. Try again in a minute.\n"
                )
                refusal = PlainTextResponse(words, 503, headers={"Retry-After": str(_RETRY_SECONDS)})
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _remove_oldest() -> None:
    """Remove pages above the limit. Every path may make one: NiceGUI's answer 404 is a page, too."""
    waiting = sorted(one.created for one in Client.instances.values() if not one.has_socket_connection)
    if len(waiting) > MAX_WAITING:
        Client.prune_instances(client_age_threshold=time.time() - waiting[-MAX_WAITING - 1])
