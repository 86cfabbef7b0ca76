"""ZMTP 3: as much of ZeroMQ's protocol as it takes to count what a peer asks for.

A connection begins with a greeting of 64 bytes; then come frames: flags, a length of one or eight
bytes, a body. A message is one or more frames; a command is one frame that is no part of a message.
The words are those of https://rfc.zeromq.org/spec/37/.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

GREETING_BYTES: Final = 64
SIGNATURE_BYTES: Final = 10
VERSION_BYTES: Final = 12  # signature and version: after them a peer says its mechanism
_MORE, _LONG, _COMMAND = 1, 2, 4


class ProtocolError(Exception):
    """What a peer sent is not ZMTP 3, or is longer than it may be."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        raw: The frame as it came, header included.
        start: Where the body begins in ``raw``.
    """

    raw: bytes
    start: int

    @property
    def body(self) -> bytes:
        """The content."""
        return self.raw[self.start :]

    @property
    def is_command(self) -> bool:
        """Whether it is a command: a part of the handshake, a ping, a subscription."""
        return bool(self.raw[0] & _COMMAND)

    @property
    def has_more(self) -> bool:
        """Whether another frame of the same message follows."""
        return bool(self.raw[0] & _MORE)

    @property
    def command(self) -> bytes:
        """The name of a command such as ``READY``; empty for a part of a message."""
        return self.command_name if self.is_command else b""

    @property
    def command_name(self) -> bytes:
        """The same where libzmq leaves out the flag, as it does for what it has encrypted."""
        body = self.body
        return body[1 : 1 + body[0]] if body else b""

    def find_subscription(self) -> tuple[bool, bytes] | None:
        """Whether a prefix is subscribed to (True) or cancelled, and the prefix.

        ZMTP 3.0 sends a message that begins with a byte 1 or 0, ZMTP 3.1 a command.
        """
        body = self.body
        if not self.is_command:
            return (body[0] == 1, body[1:]) if body[:1] in (b"\0", b"\1") else None
        name = self.command
        if name in (b"SUBSCRIBE", b"CANCEL"):
            return name == b"SUBSCRIBE", body[1 + len(name) :]
        return None


class FrameReader:
    """Cuts a stream of bytes into frames.

    Args:
        max_bytes: The longest body; a longer one is a `ProtocolError` before it is stored.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()

    def read(self, data: bytes) -> Iterator[Frame]:
        """The frames that ``data`` completes.

        Raises:
            ProtocolError: A frame has reserved flags or is too long.
        """
        rest = self._rest
        rest += data
        begin = 0
        try:
            while len(rest) - begin >= 2:
                flags = rest[begin]
                if flags > 7:
                    raise ProtocolError(f"a frame has the reserved flags {flags:#04x}")
                start = 9 if flags & _LONG else 2
                if len(rest) - begin < start:
                    return
                size = int.from_bytes(rest[begin + 1 : begin + start], "big")
                if size > self._max_bytes:
                    raise ProtocolError(f"a frame has {size} bytes; {self._max_bytes} are allowed")
                end = begin + start + size
                if len(rest) < end:
                    return
                yield Frame(bytes(rest[begin:end]), start)
                begin = end
        finally:
            del rest[:begin]


def make_frame(body: bytes, *, is_command: bool = False, more: bool = False) -> bytes:
    """A frame with its header."""
    long = len(body) > 255
    flags = _COMMAND * is_command | _LONG * long | _MORE * more
    return bytes((flags,)) + len(body).to_bytes(8 if long else 1, "big") + body


def make_greeting(mechanism: bytes, *, is_server: bool = False) -> bytes:
    """The greeting of ZMTP 3.1."""
    signature = b"\xff" + bytes(7) + b"\1\x7f"
    return signature + b"\3\1" + mechanism.ljust(20, b"\0") + bytes((is_server,)) + bytes(31)


def check_greeting(greeting: bytes) -> None:
    """Check the beginning of a greeting, as far as it has come.

    Raises:
        ProtocolError: It is another protocol, or a ZMTP before 3.
    """
    if greeting[:1] not in (b"", b"\xff") or greeting[9:10] not in (b"", b"\x7f"):
        raise ProtocolError("it does not speak ZMTP")
    if greeting[10:11] and greeting[10] < 3:
        raise ProtocolError("it speaks a ZMTP before 3: update its ZeroMQ library")


def parse_mechanism(greeting: bytes) -> bytes:
    """The security mechanism of a whole greeting, such as ``NULL`` or ``CURVE``."""
    return greeting[12:32].rstrip(b"\0")
