"""Logging in and out, and who one is."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from edge.web.access import Access, name_cookie
from edge.web.endpoint import JSON, Call, Endpoint
from edge.web.schema import Login, Query, Session
from edge.web.sessions import LIFE_S


class LoginDesk:
    """Gives out sessions.

    Args:
        access: Who may see the node.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What is served."""
        return (
            Endpoint("GET", "/session", self.show, "Who is asking.", role=None, answer=Session),
            Endpoint("POST", "/session", self.log_in,
                     "Log in with name and password, or with a one-time token; sets a cookie.",
                     role=None, answer=Session, body=Login, max_bytes=8192),
            Endpoint("DELETE", "/session", self.log_out, "Log out.", role=None),
        )  # fmt: skip

    async def show(self, call: Call[Query, None]) -> Session:
        """Who is asking."""
        login = self._access.rules.needs_login
        if call.visitor is None:
            return Session("", None, login=True)
        return Session(call.visitor.user, call.visitor.role, login)

    async def log_in(self, call: Call[Query, Login]) -> Response:
        """Begin a session."""
        request, login = call.request, call.body
        host = self._access.find_host(request)
        if login.token:
            cookie, visitor = self._access.accept_invitation(host, login.token)
        else:
            cookie, visitor = await self._access.log_in(host, login.user, login.password)
        session = Session(visitor.user, visitor.role, login=True)
        response = Response(msgspec.json.encode(session), media_type=JSON)
        response.set_cookie(
            name_cookie(request.headers.get("host", "")),
            cookie,
            max_age=int(LIFE_S),
            httponly=True,
            samesite="strict",
            secure=self._access.is_encrypted(request),
        )
        return response

    async def log_out(self, call: Call[Query, None]) -> Response:
        """End a session."""
        if call.visitor:
            self._access.log_out(call.visitor)
        response = Response(status_code=204)
        name = name_cookie(call.request.headers.get("host", ""))
        response.delete_cookie(name, httponly=True, samesite="strict")
        return response
