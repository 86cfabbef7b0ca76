"""Redaction: text that may be shown, without users, passwords and tokens.

An address is not cleaned but rebuilt from what is known to be harmless: scheme, host, port, and the
segments of its path that are words cameras use. Whatever else it holds is shown as ``***``.
"""

from __future__ import annotations

import re

HIDDEN = "***"

_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_HARMLESS_SEGMENT = re.compile(
    r"""(?:
      [0-9]{1,3}
    | (?:
        (?:live|stream(?:ing)?|streams|main|sub|first|second|channels?|ch|cam(?:era)?s?|video|media
          |audio|mjpe?g|mpeg4|mp4|h\.?26[45]|hevc|avc|hls|onvif|profile|axis-media|axis-cgi|cgi-bin
          |realmonitor|videostream|snap(?:shot)?|image|picture|still|jpe?g|index|playlist|play
          |unicast|multicast|media\.amp|api|m|s|av)
        [0-9]{0,3} [-_./]?
      ){1,3}
      (?:\.(?:cgi|jpe?g|mjpe?g|m3u8|ts|sdp|amp|mp4|png|php|asp))?
    )\Z""",
    re.VERBOSE | re.IGNORECASE,
)
# re holds Python's lock, and others may have written a text: a match begins only where a word does,
# for tried at each letter, a word of a few thousand would stop every camera for a minute.
# to the last @ of a line: people put unescaped / and @, blanks and quotes into passwords
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,31})://(?P<rest>[^\n]*@\S*|\S*)")
_MISSPELLED = re.compile(r"\b(?P<scheme>rtsps?|https?|rtmp|srt|udp|rtp):/?(?!/)[^\n]*@\S*")
# an address whose scheme is missing or misspelled: user:password@ and what follows
_LOGIN = re.compile(r"(?<![^\s@'\"])[^\s:@'\"]*:[^\s@'\"]*@[^\s'\"]*")
_CAMERA_SCHEME = re.compile(
    r"(?:rtsps?|https?|rtmp\w*|srt|udp|rtp|mms\w*|tcp|ftp)\Z", re.IGNORECASE
)
_SECRET = re.compile(
    r"""(?<![\w.-])(?=[\w.-]*(?:pass|pwd|pw|token|secret|key|auth|sig|cred))"""
    r"""(?P<key>[\w.-]+\s*=\s*)"""
    r"""(?:"[^"]*"|'[^']*'|[^&;\s]*)""",
    re.IGNORECASE,
)

_PUBLIC_KEY = re.compile(r"(?<=CURVE key )([0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40})(?!\S)")


def redact(text: str) -> str:
    """Rebuild every address in a text, and remove the values of what looks like a secret.

    A public key after the words "CURVE key" stays: its letters may look like anything.
    """
    pieces = _PUBLIC_KEY.split(text)
    pieces[::2] = map(_redact, pieces[::2])
    return "".join(pieces)


def _redact(text: str) -> str:
    text = _MISSPELLED.sub(rf"\g<scheme>:{HIDDEN}", _ADDRESS.sub(_show_match, text))
    text = _LOGIN.sub(HIDDEN, text)
    return _SECRET.sub(rf"\g<key>{HIDDEN}", text)


def show_address(address: str) -> str:
    """The address of a camera as it may be shown: ``scheme://host:port/path``, or a path.

    Users, passwords, queries and fragments never show. A path segment shows if it is a number or a
    word that cameras use. An ``@`` behind what looks like host and port may end a password that was
    not encoded: then nothing but the scheme shows.
    """
    scheme, mark, rest = address.partition("://")
    if mark:
        return f"{_show_scheme(scheme)}://{_show_rest(rest)}"
    scheme = address.partition(":")[0]
    if scheme != address and _CAMERA_SCHEME.match(scheme):
        return f"{scheme}:{HIDDEN}"
    return _LOGIN.sub(HIDDEN, address)


def split_authority(rest: str) -> tuple[str, str, str]:
    """What follows ``://`` -> userinfo, host with port, and the rest from ``/``, ``?`` or ``#`` on.

    As FFmpeg does: the authority ends at the first of these, its userinfo at the last ``@``.
    """
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    userinfo, _, host = rest[:end].rpartition("@")
    return userinfo, host, rest[end:]


def _show_match(match: re.Match[str]) -> str:
    scheme, rest = match["scheme"], match["rest"]
    if _CAMERA_SCHEME.match(scheme):
        address = rest.rstrip(":;,.!)'\"")  # of the sentence around it
        return f"{scheme}://{_show_rest(address)}{rest[len(address) :]}"
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _show_scheme(scheme: str) -> str:
    return scheme if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,15}", scheme) else HIDDEN


def _show_rest(rest: str) -> str:
    userinfo, authority, tail = split_authority(rest)
    if "@" in tail:
        if ":" not in userinfo and _show_authority(authority) != HIDDEN:
            return HIDDEN
        _, authority, tail = split_authority(rest.rpartition("@")[2])
    path, *query = re.split(r"[?#]", tail, maxsplit=1)
    shown = "/".join(
        part if not part or _HARMLESS_SEGMENT.match(part) else HIDDEN for part in path.split("/")
    )
    return _show_authority(authority) + shown + (f"?{HIDDEN}" if query else "")


def _show_authority(authority: str) -> str:
    host, port = authority, ""
    if ":" in authority.rpartition("]")[2]:
        host, _, port = authority.rpartition(":")
        if not _PORT.match(port):
            return HIDDEN
    shown = host if not host or _HOST.match(host) else HIDDEN
    return f"{shown}:{port}" if port else shown
