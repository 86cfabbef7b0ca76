"""Sessions: who has logged in, until they log out, are silent for long, or the node restarts."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from itsdangerous import BadSignature, Signer, TimestampSigner, URLSafeTimedSerializer

from edge.web.schema import Role

MAX_SESSIONS = 1000
MAX_PER_USER = 100
LIFE_S = 30 * 86400.0  # after the login
IDLE_S = 7 * 86400.0  # after the last request
INVITATION_S = 60.0  # in which a one-time token is valid
OPENED = "edge open"  # the name of who came by such a token


@dataclass(slots=True)
class _Session:
    """A login.

    Attributes:
        proof: The hash of the password at the login, or the key of the users file for who came by a
            one-time token: another one ends the session.
        role: Of who came by a one-time token; of others the users file says it.
    """

    user: str
    proof: str
    role: Role | None
    began_s: float
    used_s: float


class Sessions:
    """The sessions of one run of the node, in its event loop.

    Args:
        clock: Seconds that never step back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._signer = Signer(secrets.token_bytes(32), salt="session")
        self._sessions: dict[str, _Session] = {}

    def begin(self, user: str, proof: str, role: Role | None = None) -> str | None:
        """Begin a session: its cookie, or None if there are too many."""
        self._drop_expired()
        of_user = sum(session.user == user for session in self._sessions.values())
        if len(self._sessions) >= MAX_SESSIONS or of_user >= MAX_PER_USER:
            return None
        session_id = secrets.token_urlsafe(24)
        now_s = self._clock()
        self._sessions[session_id] = _Session(user, proof, role, now_s, now_s)
        return self._signer.sign(session_id).decode()

    def find(self, cookie: str) -> tuple[str, str, str, Role | None] | None:
        """Id, user, proof at the login and role of a session that goes on."""
        try:
            session_id = self._signer.unsign(cookie).decode()
        except (BadSignature, UnicodeError):
            return None
        session = self._sessions.get(session_id)
        now_s = self._clock()
        if session is None or self._is_expired(session, now_s):
            return None
        session.used_s = now_s
        return session_id, session.user, session.proof, session.role

    def end(self, session_id: str) -> None:
        """End a session."""
        self._sessions.pop(session_id, None)

    def _is_expired(self, session: _Session, now_s: float) -> bool:
        return now_s - session.began_s > LIFE_S or now_s - session.used_s > IDLE_S

    def _drop_expired(self) -> None:
        now_s = self._clock()
        for session_id, session in list(self._sessions.items()):
            if self._is_expired(session, now_s):
                del self._sessions[session_id]


# --- one-time tokens --------------------------------------------------------------------------


def write_invitation(key: str, role: Role) -> str:
    """A one-time token, signed by the key of a users file."""
    return str(_make_serializer(key).dumps({"role": str(role), "nonce": secrets.token_hex(8)}))


class Invitations:
    """One-time tokens that were used, so that none is used twice."""

    def __init__(self) -> None:
        self._used: dict[str, float] = {}  # nonce, and until when it must be remembered

    def accept(self, key: str, token: str) -> Role | None:
        """The role that a token brings; None if it is forged, too old or was used."""
        if not key:
            return None
        try:
            content = _make_serializer(key).loads(token, max_age=int(INVITATION_S))
            role, nonce = Role(content["role"]), str(content["nonce"])
        except (BadSignature, KeyError, TypeError, ValueError):
            return None
        now_s = time.time()
        self._used = {each: until_s for each, until_s in self._used.items() if until_s > now_s}
        if nonce in self._used:
            return None
        self._used[nonce] = now_s + 2 * INVITATION_S
        return role


def _make_serializer(key: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key, salt="edge open", signer=TimestampSigner)
