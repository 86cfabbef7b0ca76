"""Camera addresses: logins put in, hosts taken out."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from edge.redaction import redact_userinfo


def add_login(url: str, user: str, password: str) -> str:
    """Put user and password, percent-encoded, into a URL in place of its own."""
    scheme, rest = url.split("://", 1)
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return f"{scheme}://{login}@{rest.rpartition('@')[2]}"


def parse_host(url: str) -> str:
    """The host of a URL; empty for a path or a malformed URL."""
    try:
        return urlsplit(redact_userinfo(url)).hostname or ""
    except ValueError:
        return ""
