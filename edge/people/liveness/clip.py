"""A clip: the latest wide crops of one face, as a liveness network wants them."""

from __future__ import annotations

from collections import deque

import numpy as np

from edge.types import U8


class Clip:
    """The latest crops of one face."""

    def __init__(self) -> None:
        self._parts: deque[tuple[float, U8]] = deque()

    def add(self, crops: U8, at_s: float, length: int, most_s: float) -> U8 | None:
        """Add wide crops ``(S, h, w, 3)``; the clip ``(T, h, w, 3)`` once it is whole.

        Args:
            crops: of this look, a scale each.
            at_s: when.
            length: pictures of a clip.
            most_s: it must not span more.
        """
        self._parts.append((at_s, crops))
        while len(self._parts) > length or not 0 <= at_s - self._parts[0][0] <= most_s:
            self._parts.popleft()
        if len(self._parts) < length:
            return None
        return np.concatenate([part for _, part in self._parts])
