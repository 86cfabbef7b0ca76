"""Logs: one line an event on standard error, as text or JSON, never a password."""

from __future__ import annotations

import json
import logging
import re
import sys
import time

from edge.config import Log

# up to the last @, for people put unescaped / and @ into passwords
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)\S*@")


def without_secrets(text: str) -> str:
    """Cut user and password out of every URL in a text."""
    return _USERINFO.sub(r"\g<scheme>", text)


class _Formatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        return " | ".join(super().formatException(ei).splitlines())  # type: ignore[arg-type]


class TextFormatter(_Formatter):
    """``2026-01-31T12:00:00Z info door: online`` on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ")
        camera = getattr(record, "camera", "")
        who = f"{camera}: " if camera else ""
        text = record.getMessage()
        if record.exc_info:
            text += " | " + self.formatException(record.exc_info)
        line = f"{stamp} {record.levelname.lower()} {who}{text}"
        return without_secrets(line.replace("\n", " | "))


class JsonFormatter(_Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
        }
        if camera := getattr(record, "camera", ""):
            entry["camera"] = camera
        if record.exc_info:
            entry["exception"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


def set_up(options: Log) -> None:
    """Send every log record of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if options.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(options.level.upper())
    for noisy in ("uvicorn", "uvicorn.error", "uvicorn.access", "libav", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
