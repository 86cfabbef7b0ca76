"""CURVE: the server's side of ZeroMQ's encryption, for one connection.

libzmq has it too, but can neither bound what an encrypted peer asks for nor close the connection of
one whose key is revoked, so the subscriber guard speaks it itself. Keys agree over Curve25519,
frames are sealed with XSalsa20 and Poly1305, by libsodium; every connection has keys of its own, so
what was recorded stays closed when a long-term key is stolen later (forward secrecy). The names are
those of https://rfc.zeromq.org/spec/26/: C and S are the long-term keys of client and server,
C' and S' those of the connection.
"""

from __future__ import annotations

import hmac
import itertools
import os
from collections.abc import Callable
from typing import Final

from nacl.bindings import (
    crypto_box_afternm,
    crypto_box_beforenm,
    crypto_box_keypair,
    crypto_box_open_afternm,
)
from nacl.exceptions import CryptoError

from edge.wire.zmtp import Frame, FrameReader, ProtocolError, make_frame, make_greeting

MECHANISM: Final = b"CURVE"
OVERHEAD: Final = 64  # bytes by which a sealed frame is longer than what is in it, at most
_KEY, _TAG, _LONG_NONCE, _SHORT_NONCE, _COOKIE = 32, 16, 16, 8, 96
_HELLO_BYTES = 6 + 2 + 72 + _KEY + _SHORT_NONCE + 64 + _TAG
_MORE, _COMMAND = 1, 2  # flags within a sealed frame


class UnauthorizedError(Exception):
    """A peer's long-term key is not known; the message has it, in Z85."""


class CurveServer:
    """Shakes hands with one peer, opens what it sends and seals what is sent to it.

    Args:
        secret: The server's long-term secret key, 32 bytes.
        authorize: The name of the client with a public key of 32 bytes, None for a stranger.

    Attributes:
        client: The client's name, once it has shown its key; empty before.
        key: Its public key.
    """

    greeting: Final = make_greeting(MECHANISM, is_server=True)

    def __init__(self, secret: bytes, authorize: Callable[[bytes], str | None]) -> None:
        self._secret = secret
        self._authorize = authorize
        self.client = ""
        self.key = b""
        self._public, self._private = crypto_box_keypair()  # S'
        self._cookie = os.urandom(_COOKIE)  # the connection remembers, so it only has to return
        self._peer = b""  # C'
        self._shared = b""  # of C' and S'
        self._last_nonce = -1
        self._nonces = itertools.count(1)

    def greet(self, frame: Frame) -> tuple[bytes, bytes | None]:
        """Take a step of the handshake.

        Returns:
            What to answer; and, at its end, the peer's properties such as its socket type.

        Raises:
            ProtocolError: It is not what comes next, or was made without the right keys.
            UnauthorizedError: The client is a stranger.
        """
        if not self._peer:
            return self._welcome(frame), None
        return b"", self._initiate(frame)

    def make_ready(self, properties: bytes) -> bytes:
        """The last step of the handshake: the server's own properties."""
        nonce = self._take_nonce()
        box = crypto_box_afternm(properties, b"CurveZMQREADY---" + nonce, self._shared)
        return make_frame(b"\5READY" + nonce + box, is_command=True)

    def open(self, frame: Frame) -> Frame:
        """The frame that a peer has sealed.

        Raises:
            ProtocolError: It is not sealed, was changed, or came before.
        """
        if frame.command_name != b"MESSAGE":
            raise ProtocolError("it sends what is not encrypted")
        start = 8 + _SHORT_NONCE
        content = self._unseal(b"CurveZMQMESSAGEC", frame.body, 8, start)
        if not content:
            raise ProtocolError("it sends an encrypted frame without flags")
        flags = content[0]
        raw = make_frame(content[1:], is_command=bool(flags & _COMMAND), more=bool(flags & _MORE))
        return Frame(raw, len(raw) - len(content) + 1)

    def seal(self, frames: bytes) -> bytes:
        """Whole frames, sealed one by one."""
        sealed = []
        for frame in FrameReader(1 << 40).read(frames):
            flags = _COMMAND * frame.is_command | _MORE * frame.has_more
            nonce = self._take_nonce()
            content = bytes((flags,)) + frame.body
            box = crypto_box_afternm(content, b"CurveZMQMESSAGES" + nonce, self._shared)
            sealed.append(make_frame(b"\7MESSAGE" + nonce + box))
        return b"".join(sealed)

    def _welcome(self, hello: Frame) -> bytes:
        """Answer the first command with a key for this connection."""
        body = hello.body
        if hello.command != b"HELLO" or len(body) != _HELLO_BYTES or body[6] != 1:
            raise ProtocolError("its CURVE handshake does not begin with HELLO of version 1")
        peer = body[80 : 80 + _KEY]
        shared = _agree(peer, self._secret)
        start = 80 + _KEY + _SHORT_NONCE
        nonce = body[80 + _KEY : start]
        _open(body[start:], b"CurveZMQHELLO---" + nonce, shared, "the server's key")
        self._peer = peer
        self._last_nonce = int.from_bytes(nonce, "big")
        self._shared = _agree(peer, self._private)
        salt = os.urandom(_LONG_NONCE)
        box = crypto_box_afternm(self._public + self._cookie, b"WELCOME-" + salt, shared)
        return make_frame(b"\7WELCOME" + salt + box, is_command=True)

    def _initiate(self, initiate: Frame) -> bytes:
        """Check who the peer is; its properties."""
        body, begin = initiate.body, 9
        if initiate.command != b"INITIATE" or len(body) < begin + _COOKIE + _SHORT_NONCE + _TAG:
            raise ProtocolError("its CURVE handshake does not go on with INITIATE")
        at = begin + _COOKIE
        if self.key or not hmac.compare_digest(body[begin:at], self._cookie):
            raise ProtocolError("its CURVE handshake does not return the server's cookie")
        content = self._unseal(b"CurveZMQINITIATE", body, at, at + _SHORT_NONCE)
        vouched = _KEY + _LONG_NONCE + 2 * _KEY + _TAG
        if len(content) < vouched:
            raise ProtocolError("its CURVE handshake lacks the client's key")
        key, salt = content[:_KEY], content[_KEY : _KEY + _LONG_NONCE]
        box = content[_KEY + _LONG_NONCE : vouched]
        agreed = _agree(key, self._private)
        vouch = _open(box, b"VOUCH---" + salt, agreed, "the secret key of the client")
        if not hmac.compare_digest(vouch[:_KEY], self._peer):
            raise ProtocolError("its CURVE handshake vouches for another connection")
        self.key = key
        name = self._authorize(key)
        if name is None:
            raise UnauthorizedError
        self.client = name
        return content[vouched:]

    def _unseal(self, prefix: bytes, body: bytes, begin: int, start: int) -> bytes:
        """What is sealed from ``start`` on under the nonce from ``begin`` on, which must grow."""
        nonce = body[begin:start]
        number = int.from_bytes(nonce, "big")
        if len(nonce) < _SHORT_NONCE or number <= self._last_nonce:
            raise ProtocolError("it repeats an encrypted frame")
        content = _open(body[start:], prefix + nonce, self._shared, "the keys of the connection")
        self._last_nonce = number
        return content

    def _take_nonce(self) -> bytes:
        return next(self._nonces).to_bytes(_SHORT_NONCE, "big")


def _agree(public: bytes, secret: bytes) -> bytes:
    try:
        return crypto_box_beforenm(public, secret)
    except CryptoError as error:  # a point of low order
        raise ProtocolError("its key is none of Curve25519") from error


def _open(box: bytes, nonce: bytes, shared: bytes, whose: str) -> bytes:
    try:
        return crypto_box_open_afternm(box, nonce, shared)
    except CryptoError as error:
        raise ProtocolError(f"what it encrypted was not made with {whose}") from error
