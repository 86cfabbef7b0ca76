"""Camera addresses: what they consist of, logins put in, hosts taken out."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from edge.redaction import split_authority

_HOSTED = ("rtsp", "rtsps", "http", "https")  # others may listen instead


def add_login(url: str, user: str, password: str) -> str:
    """Put user and password, percent-encoded, into a URL in place of its own."""
    scheme, rest = url.split("://", 1)
    _, host, tail = split_authority(rest)
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return f"{scheme}://{login}@{host}{tail}"


def remove_login(url: str) -> tuple[str, str]:
    """The URL without its userinfo, and the userinfo as it stands there."""
    scheme, rest = url.split("://", 1)
    userinfo, host, tail = split_authority(rest)
    return f"{scheme}://{host}{tail}", userinfo


def parse_host(url: str) -> str:
    """The host of a URL; empty for a path or a malformed URL."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return ""
    try:
        return urlsplit(f"{scheme}://{split_authority(rest)[1]}").hostname or ""
    except ValueError:
        return ""


def check_url(url: str, schemes: tuple[str, ...]) -> str:
    """Check that a URL begins with one of ``schemes`` and that host and port can be told.

    Raises:
        ValueError: It does not; the message does not contain the URL.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.lower() not in schemes:
        *most, last = (f"{scheme}://" for scheme in schemes)
        raise ValueError(f"must begin with {', '.join(most)}{' or ' if most else ''}{last}")
    if any(ord(letter) < 33 or letter == "\x7f" for letter in url):
        raise ValueError(
            "contains blanks or control characters: percent-encode them (a blank is %20), or give "
            "the login in the keys user and password"
        )
    userinfo, host, tail = split_authority(rest)
    try:
        parts = urlsplit(f"{scheme}://{host}")
        port = parts.port
    except ValueError:
        port = -1
    if port == -1 and "@" in tail and not userinfo:
        raise ValueError(
            "has a login with / ? or # in it, which end a host: percent-encode them, or give the "
            "login in the keys user and password"
        )
    if port == -1:
        raise ValueError(
            "needs a port between 0 and 65535 after the host's colon; percent-encode :@/?# in a "
            "login, or give it in the keys user and password"
        )
    if scheme.lower() in _HOSTED and not parts.hostname:
        raise ValueError("needs a host after ://")
    return url
