"""Log format: one line per event on standard error, as text or JSON, without secrets."""

from __future__ import annotations

import json
import logging
import sys
import time

from edge.config import Log
from edge.printable import escape_controls
from edge.redaction import redact


class _Formatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        return " | ".join(super().formatException(ei).splitlines())  # type: ignore[arg-type]


class TextFormatter(_Formatter):
    """``2026-01-31T12:00:00Z info door: online`` on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line."""
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ")
        camera = getattr(record, "camera", "")
        prefix = f"{camera}: " if camera else ""
        text = record.getMessage()
        if record.exc_info:
            text += " | " + self.formatException(record.exc_info)
        line = f"{stamp} {record.levelname.lower()} {prefix}{text}"
        return escape_controls(redact(line.replace("\n", " | ")))


class JsonFormatter(_Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if camera := getattr(record, "camera", ""):
            entry["camera"] = camera
        if record.exc_info:
            entry["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


def set_up_logging(options: Log) -> None:
    """Write the log records of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if options.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(options.level.upper())
    for noisy in ("uvicorn", "uvicorn.error", "uvicorn.access", "libav", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
