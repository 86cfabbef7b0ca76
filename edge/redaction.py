"""Redaction: text that may be shown, without users, passwords and tokens."""

from __future__ import annotations

import re

# up to the last @, for people put unescaped / and @ into passwords
_USERINFO = re.compile(r"""(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^\s"']*@""")
_SECRET = re.compile(
    r"""(?P<key>[\w.-]*(?:pass|pwd|pw|token|secret|key|auth|sig|cred)[\w.-]*\s*=\s*)"""
    r"""(?:"[^"]*"|'[^']*'|[^&;\s]*)""",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Remove user and password from URLs, and the values of what looks like a secret."""
    return _SECRET.sub(r"\g<key>***", redact_userinfo(text))


def redact_userinfo(text: str) -> str:
    """Remove user and password from every URL in a text."""
    return _USERINFO.sub(r"\g<scheme>", text)
