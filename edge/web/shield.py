"""The shield: what holds for every answer and every request of the page and its API."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.web.access import Access
from edge.web.problem import RequestError, respond

SAFE_METHODS = frozenset({"GET", "HEAD"})
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "font-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Shield:
    """Refuses what comes by a foreign name or from a foreign page; adds headers to each answer.

    Args:
        app: What is behind it.
        access: Which names and pages are ours.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_shielded(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                of_api = scope["path"].startswith("/api/")
                headers.setdefault("cache-control", "no-store" if of_api else "no-cache")
            await send(message)

        headers = Headers(scope=scope)
        safe = scope["type"] == "http" and scope["method"] in SAFE_METHODS
        try:
            self._access.check_host(headers)
            if scope["path"].startswith("/api/"):
                self._access.check_origin(headers, safe=safe)
        except RequestError as error:
            await respond(error)(scope, receive, send_shielded)
            return
        await self._app(scope, receive, send_shielded)
