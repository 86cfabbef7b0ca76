"""What an RTSP camera asks for when it refuses a login: FFmpeg does not tell."""

from __future__ import annotations

import contextlib
import re
import socket
from urllib.parse import urlsplit

_CHALLENGE = re.compile(rb"^WWW-Authenticate:[ \t]*(?P<scheme>\w+)(?P<rest>.*)$", re.I | re.M)
_ALGORITHM = re.compile(rb"algorithm=\"?(?P<name>[\w-]+)", re.IGNORECASE)
_MAX_ANSWER_BYTES = 8192


def ask_for_digest(url: str, timeout_s: float) -> set[str]:
    """What a camera would accept, asked without a login: BASIC, MD5, SHA-256 ...; {} unknown."""
    parts, answer = urlsplit(url), b""
    question = f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode()
    address = parts.hostname or "", parts.port or 554
    with (
        contextlib.suppress(OSError),
        socket.create_connection(address, timeout_s) as connection,
    ):
        connection.sendall(question)
        while b"\r\n\r\n" not in answer and len(answer) < _MAX_ANSWER_BYTES:
            part = connection.recv(_MAX_ANSWER_BYTES)
            if not part:
                break
            answer += part
    return {_name(match) for match in _CHALLENGE.finditer(answer)}


def _name(match: re.Match[bytes]) -> str:
    if match["scheme"].upper() == b"BASIC":
        return "BASIC"
    algorithm = _ALGORITHM.search(match["rest"])
    return algorithm["name"].decode().upper() if algorithm else "MD5"
