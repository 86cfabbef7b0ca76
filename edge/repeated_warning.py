"""Warnings that are told once and then summed up, so that trouble cannot fill a log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from edge.printable import format_count

SUM_UP_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Untold:
    """How often something happened since it was told, and its last text."""

    count: int
    text: str
    level: int


@dataclass(slots=True)
class RepeatedWarnings:
    """Tells the first warning of a kind at once and the number of others once a minute.

    Not thread-safe.
    """

    log: logging.Logger
    sum_up_s: float = SUM_UP_S
    monotonic_s: Callable[[], float] = time.monotonic
    _told_s: dict[str, float] = field(default_factory=dict)
    _untold: dict[str, _Untold] = field(default_factory=dict)

    def tell(self, kind: str, text: str, level: int = logging.WARNING) -> None:
        """Log ``text`` if its kind is new or has rested; count it otherwise."""
        if self._is_recent(kind):
            count = self._untold[kind].count if kind in self._untold else 0
            self._untold[kind] = _Untold(count + 1, text, level)
        else:
            self._told_s[kind] = self.monotonic_s()
            self.log.log(level, "%s", text)

    def _is_recent(self, kind: str) -> bool:
        told_s = self._told_s.get(kind)
        return told_s is not None and self.monotonic_s() - told_s < self.sum_up_s

    def sum_up(self) -> None:
        """Log what was repeated and how often, once its minute is over; call it now and then."""
        for kind, untold in list(self._untold.items()):
            if not self._is_recent(kind):
                often = format_count(untold.count, "more time", "more times")
                self.log.log(untold.level, "%s (%s since)", untold.text, often)
                del self._untold[kind]
                self._told_s[kind] = self.monotonic_s()
        for kind in [kind for kind in self._told_s if not self._is_recent(kind)]:
            del self._told_s[kind]
