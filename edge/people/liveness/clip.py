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
        """Add ``(S, h, w, 3)`` crops of one picture, at each scale, taken at ``at_s`` (monotonic).

        Returns:
            The clip ``(T, h, w, 3)`` once it has ``length`` pictures within ``max_s`` seconds.
        """
        self._crops.append((at_s, crops))
        while len(self._crops) > length or not 0 <= at_s - self._crops[0][0] <= max_s:
            self._crops.popleft()
        if len(self._crops) < length:
            return None
        return np.concatenate([crops for _, crops in self._crops])
