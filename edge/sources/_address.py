"""Addresses as they may be shown: without user, password or token."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

# up to the last @, for people put unescaped / and @ into passwords
_USERINFO = re.compile(r"""(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^\s"']*@""")
_SECRET = re.compile(
    r"""(?P<key>[\w.-]*(?:pass|pwd|pw|token|secret|key|auth|sig|cred)[\w.-]*\s*=\s*)"""
    r"""(?:"[^"]*"|'[^']*'|[^&;\s]*)""",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Cut user and password out of URLs, and the values of what looks like a secret."""
    return _SECRET.sub(r"\g<key>***", _USERINFO.sub(r"\g<scheme>", text))


def with_login(url: str, user: str, password: str) -> str:
    """Put user and password, percent-encoded, into a URL in place of those it has."""
    scheme, rest = url.split("://", 1)
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return f"{scheme}://{login}@{rest.rpartition('@')[2]}"


def host_of(url: str) -> str:
    """The host a URL names, empty for a path or a URL that cannot be read."""
    try:
        return urlsplit(_USERINFO.sub(r"\g<scheme>", url)).hostname or ""
    except ValueError:
        return ""
