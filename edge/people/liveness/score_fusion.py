"""Vitality: is a face alive, as the looks of the last seconds say together?

Two things are asked. The liveness network must think so, by the mean of its log-odds over several
looks; and the face must have changed otherwise than a flat picture does, see `flatness`. Whatever
is missing, old or no number leaves it undecided: only what is known to live is `live`. `spoof`
stays for good.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from edge.people.liveness.planarity import stirred
from edge.people.reasons import LIVENESS_MODEL_NAN, NO_3D_MOTION, SPOOFED_BEFORE, Reason
from edge.types import F32, Liveness, ReasonCode

MIN_SCORES = 3
MIN_STIRS = 2
MOST_SKETCHES = 3
SURE = 0.99  # a network that is surer than that is not believed more


@dataclass(frozen=True, slots=True)
class Demands:
    """What a living face must show. Raising any but `window_s` finds fewer alive.

    Attributes:
        live_score: fused score from which on a face is alive.
        spoof_score: fused score down from which it is a picture of a face.
        window_s: older scores do not count.
        motion: it must have changed otherwise than a flat picture.
    """

    live_score: float
    spoof_score: float
    window_s: float
    motion: bool


class Vitality:
    """What is known of one face.

    Args:
        demands: what it must show.
        spoof: it was caught already.

    Attributes:
        spoof: it was taken for a picture of a face, for good.
    """

    def __init__(self, demands: Demands, *, spoof: bool = False) -> None:
        self._demands = demands
        self._scores: deque[tuple[float, float]] = deque(maxlen=MIN_SCORES * 4)  # at_s, score
        self._sketches: deque[F32] = deque(maxlen=MOST_SKETCHES)
        self._stirs = 0
        self._broken = False  # the latest score was no number
        self.spoof = spoof

    @property
    def stirred(self) -> bool:
        """It changed as no flat picture does, or need not."""
        return self._stirs >= MIN_STIRS or not self._demands.motion

    def watch(self, sketch: F32) -> None:
        """Take one look's `sketch`; the first ones are what the others are compared with."""
        if self.stirred:
            return
        # a crop that was turned too far to be laid over the others differs from all of them, but
        # only that one: hence all of the sketches, and more than one look
        if self._sketches and all(stirred(old, sketch) for old in self._sketches):
            self._stirs += 1
        if len(self._sketches) < MOST_SKETCHES:
            self._sketches.append(sketch)

    def score(self, live: float, at_s: float) -> None:
        """Take what the liveness network says of one look; NaN when it says nothing."""
        self._broken = not 0 <= live <= 1
        if not self._broken:
            self._scores.append((at_s, live))

    def is_asked(self, now_s: float) -> bool:
        """Whether the network has said enough of late to be believed, whatever it said."""
        return self._recent(now_s) >= MIN_SCORES

    def _recent(self, now_s: float) -> int:
        window_s = self._demands.window_s
        return sum(0 <= now_s - at_s <= window_s for at_s, _ in self._scores)

    def fused(self, now_s: float) -> float:
        """Mean of the log-odds of the scores that are not too old, as probability, or NaN."""
        # a score from the future is of another clock: it does not count either
        odds = [
            math.log(bound / (1 - bound))
            for at_s, live in self._scores
            if 0 <= now_s - at_s <= self._demands.window_s
            for bound in (min(max(live, 1 - SURE), SURE),)
        ]
        return 1 / (1 + math.exp(-sum(odds) / len(odds))) if odds else float("nan")

    def state(self, now_s: float) -> tuple[Liveness, Reason]:
        """Live, spoof or undecided, and why."""
        if self.spoof:
            return Liveness.SPOOF, SPOOFED_BEFORE
        fused = self.fused(now_s)
        recent = self._recent(now_s)
        if self._broken:
            return Liveness.UNDECIDED, LIVENESS_MODEL_NAN
        if not recent and self._scores:
            text = f"last liveness score {now_s - self._scores[-1][0]:.0f} s ago"
            return Liveness.UNDECIDED, Reason(ReasonCode.LIVENESS_STALE, text)
        if recent < MIN_SCORES:
            text = f"{recent} of {MIN_SCORES} liveness scores so far"
            return Liveness.UNDECIDED, Reason(ReasonCode.LIVENESS_PENDING, text)
        if fused <= self._demands.spoof_score:
            self.spoof = True
            text = f"a picture of a face: liveness score {fused:.2f}"
            return Liveness.SPOOF, Reason(ReasonCode.SPOOF, text)
        if not fused >= self._demands.live_score:
            text = f"perhaps a picture of a face: liveness score {fused:.2f}"
            return Liveness.UNDECIDED, Reason(ReasonCode.LIVENESS_UNCERTAIN, text)
        if not self.stirred:
            return Liveness.UNDECIDED, NO_3D_MOTION
        return Liveness.LIVE, Reason(ReasonCode.LIVE, f"liveness score {fused:.2f}")
