"""The look gate: which frames of a camera the networks look at.

A frame is looked at when something moves in it, while somebody is followed, and from time to time.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge.types import Frame, Look


class LookGate:
    """Decides for the frames of one camera, in their order.

    Args:
        look_every_s: Longest time between two looks, in seconds.

    Attributes:
        followed: Whether somebody was in the last frame that must be looked at in the next, too.
    """

    def __init__(self, look_every_s: float) -> None:
        self.followed = False
        self._look_every_s = look_every_s
        self._epoch = -1
        self._looked_s = float("-inf")

    def choose(self, frame: Frame) -> Look:
        """Why to look at a frame; `Look.NONE` if not at all."""
        look = self._find_cause(frame)
        if look is not Look.NONE:
            self._epoch, self._looked_s = frame.epoch, frame.monotonic_s
        return look

    def _find_cause(self, frame: Frame) -> Look:
        if frame.moving is None:
            return Look.ALWAYS
        if frame.moving:
            return Look.MOTION
        if self.followed:
            return Look.FOLLOWED
        silent_s = frame.monotonic_s - self._looked_s
        is_due = frame.epoch != self._epoch or not 0 <= silent_s < self._look_every_s
        return Look.INTERVAL if is_due else Look.NONE

    def note(self, *, followed: bool) -> None:
        """Take the outcome of a look into account."""
        self.followed = followed


def choose_looks(frames: Sequence[Frame], gates: Sequence[LookGate]) -> list[Look]:
    """Why to look at each frame of a batch; ``gates`` are those of their cameras.

    Where several frames are of one camera, those behind one that is looked at are looked at, too:
    what it shows is not known yet.
    """
    looks = []
    awake: set[LookGate] = set()
    for frame, gate in zip(frames, gates, strict=True):
        look = gate.choose(frame)
        if look is Look.NONE and gate in awake:
            look = Look.FOLLOWED
        if look is not Look.NONE:
            awake.add(gate)
        looks.append(look)
    return looks
