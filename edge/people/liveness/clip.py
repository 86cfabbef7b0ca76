"""Clips: the latest wide crops of one face, as a liveness model takes them."""

from __future__ import annotations

from collections import deque

import numpy as np

from edge.types import U8


class Clip:
    """The latest crops of one face."""

    def __init__(self) -> None:
        self._crops: deque[tuple[float, U8]] = deque()  # at_s, (S, h, w, 3)

    def add(self, crops: U8, at_s: float, length: int, max_s: float) -> U8 | None:
        """Add wide crops ``(S, h, w, 3)``; returns the clip ``(T, h, w, 3)`` once it is complete.

        Args:
            crops: One picture of the face, at each scale.
            at_s: When, monotonic seconds.
            length: Pictures per clip.
            max_s: The longest time a clip may span.
        """
        self._crops.append((at_s, crops))
        while len(self._crops) > length or not 0 <= at_s - self._crops[0][0] <= max_s:
            self._crops.popleft()
        if len(self._crops) < length:
            return None
        return np.concatenate([crops for _, crops in self._crops])
