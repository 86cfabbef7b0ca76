"""Access: who is asking, and from which pages a browser may ask."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from edge.config import Http, is_loopback
from edge.errors import locate
from edge.printable import escape_controls
from edge.repeated_warning import RepeatedWarnings
from edge.web.attempts import LoginAttempts
from edge.web.endpoint import Visitor
from edge.web.problem import RequestError
from edge.web.schema import Role
from edge.web.sessions import OPENED, Invitations, Sessions
from edge.web.users import Users, UsersFile, verify_password

log = logging.getLogger(__name__)

MAX_HASHING = 2  # at a time: each takes 32 MiB and a core
MAX_WAITING = 8
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Who may see a node.

    Attributes:
        host: Address the server listens on.
        users: The users file; None where nobody can log in.
        proxies: Networks whose word on who is asking is taken.
        names: Names under which the node is reached, besides addresses and localhost.
        encrypted: Whether the server speaks TLS.
    """

    host: str
    users: UsersFile | None = None
    proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    names: frozenset[str] = field(default_factory=frozenset)
    encrypted: bool = False

    @property
    def needs_login(self) -> bool:
        """Whether who asks must say who they are."""
        return self.users is not None or not is_loopback(self.host)


def read_rules(options: Http, base: Path = Path()) -> AccessRules:
    """What the configuration says of access.

    Args:
        options: The table of the server.
        base: Folder of the configuration file.

    Raises:
        ConfigError: The users file cannot be used.
    """
    users = None
    if options.users_file:
        with locate(key="http.users_file"):
            users = UsersFile(base / options.users_file)
    return AccessRules(
        options.host,
        users,
        tuple(ipaddress.ip_network(each, strict=False) for each in options.trusted_proxies),
        frozenset(name.lower() for name in options.public_names),
        bool(options.tls_cert),
    )


class Access:
    """Decides about every request, in the event loop.

    Args:
        rules: Who may see the node.
        former: Whose sessions go on, as far as these rules know their users.
    """

    def __init__(self, rules: AccessRules, former: Access | None = None) -> None:
        self.rules = rules
        self._sessions: Sessions = former._sessions if former else Sessions()  # noqa: SLF001
        self._invitations: Invitations = former._invitations if former else Invitations()  # noqa: SLF001
        self._attempts: LoginAttempts = former._attempts if former else LoginAttempts()  # noqa: SLF001
        self._hashing: asyncio.Semaphore | None = None
        self._waiting = 0
        self._warnings = RepeatedWarnings(log)

    # --- who is asking --------------------------------------------------------------------------

    def identify(self, request: HTTPConnection) -> Visitor | None:
        """Who is asking; None for somebody who has not logged in.

        Raises:
            RequestError: What they say of themselves is wrong.
        """
        self._warnings.sum_up()
        host = request.client.host if request.client else ""
        if self._is_proxy(host) and (user := request.headers.get("remote-user", "")):
            return Visitor(user[:64], _read_role(request.headers.get("remote-role", "viewer")))
        if authorization := request.headers.get("authorization", ""):
            return self._identify_program(authorization)
        cookie = request.cookies.get(name_cookie(request.headers.get("host", "")), "")
        if visitor := self._identify_session(cookie):
            return visitor
        forwarded = any(name in request.headers for name in FORWARDED)
        if self.rules.needs_login or forwarded:
            return None  # what came through a proxy did not come from this machine
        return Visitor("", Role.ADMIN)

    def find_host(self, request: HTTPConnection) -> str:
        """The address that a request comes from, also through a trusted proxy."""
        host = request.client.host if request.client else ""
        forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        return forwarded[:64] if forwarded and self._is_proxy(host) else host

    def is_encrypted(self, request: HTTPConnection) -> bool:
        """Whether the browser speaks TLS, with this server or with a proxy before it."""
        host = request.client.host if request.client else ""
        by_proxy = request.headers.get("x-forwarded-proto", "").lower() == "https"
        return self.rules.encrypted or (by_proxy and self._is_proxy(host))

    def _is_proxy(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in self.rules.proxies)

    def _identify_program(self, authorization: str) -> Visitor:
        scheme, _, secret = authorization.partition(" ")
        users = self._read_users() if scheme.lower() == "bearer" else Users()
        found = users.find_token(secret.strip())
        if found is None:
            raise RequestError(
                HTTPStatus.UNAUTHORIZED,
                "the bearer token is not known: make one with edge users token",
                headers={"www-authenticate": 'Bearer realm="edgewatch", error="invalid_token"'},
            )
        return Visitor(*found)

    def _identify_session(self, cookie: str) -> Visitor | None:
        found = self._sessions.find(cookie)
        if found is None:
            return None
        session, name, proof, role = found
        users = self._read_users()
        if role is not None:
            if users.key and users.key == proof:
                return Visitor(name, role, session)
            self._sessions.end(session)
            return None
        user = users.users.get(name)
        if user is None or user.password != proof:
            self._sessions.end(session)
            return None
        return Visitor(name, user.role, session)

    def _read_users(self) -> Users:
        return self.rules.users.read() if self.rules.users else Users()

    # --- login ----------------------------------------------------------------------------------

    async def log_in(self, host: str, name: str, password: str) -> tuple[str, Visitor]:
        """Log somebody in: the cookie of the session, and who they are.

        Raises:
            RequestError: Name or password are wrong, or there were too many attempts.
        """
        if wait_s := self._attempts.wait_s(host, name):
            self._warn("locked out", host, name, "too many attempts")
            raise RequestError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too many attempts to log in: wait a minute",
                headers={"retry-after": str(int(wait_s) + 1)},
            )
        self._attempts.count(host, name)
        user = self._read_users().users.get(name)
        if not await self._verify(password, user.password if user else "") or user is None:
            self._warn("failed", host, name, "the name or the password is wrong")
            raise RequestError(HTTPStatus.FORBIDDEN, "the name or the password is wrong")
        self._attempts.forgive(host, name)
        return self._begin(Visitor(name, user.role), user.password)

    def accept_invitation(self, host: str, token: str) -> tuple[str, Visitor]:
        """Log in who has a one-time token.

        Raises:
            RequestError: It is forged, too old or was used.
        """
        if self._attempts.wait_s(host, ""):
            self._warn("locked out", host, OPENED, "too many attempts")
            raise RequestError(HTTPStatus.TOO_MANY_REQUESTS, "too many attempts: wait a minute")
        key = self._read_users().key
        role = self._invitations.accept(key, token)
        if role is None:
            self._warn("failed", host, OPENED, "its token was used, is too old or is none")
            self._attempts.count(host, "")
            raise RequestError(
                HTTPStatus.FORBIDDEN, "this address was used or is too old: run edge open again"
            )
        return self._begin(Visitor(OPENED, role), key, role)

    def log_out(self, visitor: Visitor) -> None:
        """End somebody's session."""
        self._sessions.end(visitor.session)

    def _warn(self, what: str, host: str, name: str, why: str) -> None:
        """Log a login that failed, in bounds and without what was tried."""
        host, name = escape_controls(host), escape_controls(name[:64])
        self._warnings.tell(what, f"login {what}: '{name}' from {host}: {why}")

    def _begin(self, visitor: Visitor, proof: str, role: Role | None = None) -> tuple[str, Visitor]:
        cookie = self._sessions.begin(visitor.user, proof, role)
        if cookie is None:
            raise RequestError(
                HTTPStatus.TOO_MANY_REQUESTS, "too many sessions: log out on another device"
            )
        return cookie, visitor

    async def _verify(self, password: str, stored: str) -> bool:
        """Compare a password in a thread; that takes as long for a name that is not known."""
        if self._hashing is None:
            self._hashing = asyncio.Semaphore(MAX_HASHING)  # of the loop that runs
        if self._waiting >= MAX_WAITING:
            raise RequestError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too many people log in at once: wait a moment",
                headers={"retry-after": "2"},
            )
        self._waiting += 1
        try:
            async with self._hashing:
                return await asyncio.to_thread(verify_password, password, stored)
        finally:
            self._waiting -= 1

    # --- which pages may ask --------------------------------------------------------------------

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Check the name under which the node is asked: DNS can make any name mean this machine.

        Raises:
            RequestError: It is none of ours.
        """
        host = _read_host(headers.get("host", ""))
        own = {"localhost", self.rules.host.lower(), *self.rules.names}
        if host in own or _is_address(host):
            return
        raise RequestError(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"this node does not know the name {host[:253]!r}: add it to http.public_names",
        )

    def check_origin(self, headers: Mapping[str, str], *, safe: bool) -> None:
        """Check that no page of somebody else asks.

        Args:
            headers: Of the request.
            safe: Whether it changes nothing and opens nothing.

        Raises:
            RequestError: One does.
        """
        site = headers.get("sec-fetch-site", "")
        foreign = site == "cross-site" or (not safe and site not in ("", "same-origin", "none"))
        origin = headers.get("origin", "")
        if not safe and origin and not site:
            foreign = urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
        if foreign:
            raise RequestError(HTTPStatus.FORBIDDEN, "a page of another site asks for this")


def name_cookie(host: str) -> str:
    """The name of the cookie: browsers share cookies between the nodes of one host."""
    port = host.rpartition(":")[2]
    return f"edge_session_{port}" if port.isdecimal() else "edge_session"


def _read_role(word: str) -> Role:
    try:
        return Role(word.strip().lower())
    except ValueError:
        roles = ", ".join(Role)
        raise RequestError(
            HTTPStatus.FORBIDDEN, f"the proxy gives the role {word[:64]!r}: expected one of {roles}"
        ) from None


def _read_host(header: str) -> str:
    """The host of a Host header, without port and brackets, in small letters."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
