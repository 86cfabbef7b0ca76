"""Liveness fusion: is a face live, judging by all scores and motion of the last seconds?

Two conditions must hold. The liveness model must say so, by the mean of its log-odds over several
scores; and the face must have changed as no flat picture does, see `planarity`. Anything missing,
stale or NaN leaves the face undecided: only positive evidence makes it `LIVE`. A spoof stays one.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from edge.people.liveness.planarity import is_nonplanar
from edge.people.reasons import (
    LIVENESS_CLIP_TOO_SHORT,
    LIVENESS_MODEL_NAN,
    NO_3D_MOTION,
    SPOOFED_BEFORE,
    Reason,
)
from edge.types import F32, Liveness, ReasonCode

MIN_SCORES = 3
MIN_NONPLANAR = 2
MAX_THUMBNAILS = 3
MAX_CONFIDENCE = 0.99  # scores beyond it count as this


@dataclass(frozen=True, slots=True)
class LivenessPolicy:
    """What a live face must show. Raising any but `window_s` finds fewer faces live.

    Attributes:
        live_score: Fused score from which a face is live.
        spoof_score: Fused score up to which it is a spoof.
        motion: Whether the face must have changed as no flat picture does.
    """

    live_score: float
    spoof_score: float
    window_s: float
    motion: bool


class LivenessFusion:
    """Scores and motion of one face.

    Attributes:
        spoof: The face was taken for a picture of a face, for good.
    """

    def __init__(self, policy: LivenessPolicy, *, spoof: bool = False) -> None:
        self._policy = policy
        self._scores: deque[tuple[float, float]] = deque(maxlen=MIN_SCORES * 4)  # at_s, score
        self._thumbnails: deque[F32] = deque(maxlen=MAX_THUMBNAILS)
        self._nonplanar = 0
        self._no_score: Reason | None = None  # why the latest look gave none
        self.spoof = spoof

    @property
    def has_moved(self) -> bool:
        """Whether the face changed as no flat picture does, or need not."""
        return self._nonplanar >= MIN_NONPLANAR or not self._policy.motion

    def add_thumbnail(self, thumbnail: F32) -> None:
        """Compare a face with its first thumbnails (see `planarity.make_thumbnail`)."""
        if self.has_moved:
            return
        # a crop that is turned too far to be registered differs from all others, but is only one:
        # hence all of the thumbnails, and more than one look
        if self._thumbnails and all(is_nonplanar(old, thumbnail) for old in self._thumbnails):
            self._nonplanar += 1
        if len(self._thumbnails) < MAX_THUMBNAILS:
            self._thumbnails.append(thumbnail)

    def add_score(self, live: float | None, at_s: float) -> None:
        """Add the liveness model's score, NaN if it gave none; None while the clip is too short."""
        if live is None:
            self._no_score = LIVENESS_CLIP_TOO_SHORT
        elif not 0 <= live <= 1:
            self._no_score = LIVENESS_MODEL_NAN
        else:
            self._no_score = None
            self._scores.append((at_s, live))

    def has_enough_scores(self, now_s: float) -> bool:
        """Whether there are enough recent scores to trust, whatever they say."""
        return self._count_recent(now_s) >= MIN_SCORES

    def _count_recent(self, now_s: float) -> int:
        window_s = self._policy.window_s
        return sum(0 <= now_s - at_s <= window_s for at_s, _ in self._scores)

    def fuse(self, now_s: float) -> float:
        """Mean log-odds of the recent scores as a probability, or NaN without any."""
        # a score from the future is of another clock and does not count either
        odds = [
            math.log(bound / (1 - bound))
            for at_s, live in self._scores
            if 0 <= now_s - at_s <= self._policy.window_s
            for bound in (min(max(live, 1 - MAX_CONFIDENCE), MAX_CONFIDENCE),)
        ]
        return 1 / (1 + math.exp(-sum(odds) / len(odds))) if odds else float("nan")

    def judge(self, now_s: float) -> tuple[Liveness, Reason]:
        """Live, spoof or undecided, and why. The caller makes a spoof final: `mark_spoof`."""
        if self.spoof:
            return Liveness.SPOOF, SPOOFED_BEFORE
        fused = self.fuse(now_s)
        recent = self._count_recent(now_s)
        if self._no_score:
            return Liveness.UNDECIDED, self._no_score
        if not recent and self._scores:
            text = f"last liveness score {now_s - self._scores[-1][0]:.0f} s ago"
            return Liveness.UNDECIDED, Reason(ReasonCode.LIVENESS_STALE, text)
        if recent < MIN_SCORES:
            text = f"{recent} of {MIN_SCORES} liveness scores so far"
            return Liveness.UNDECIDED, Reason(ReasonCode.LIVENESS_PENDING, text)
        if fused <= self._policy.spoof_score:
            text = f"a picture of a face: liveness score {fused:.2f}"
            return Liveness.SPOOF, Reason(ReasonCode.SPOOF, text)
        if not fused >= self._policy.live_score:
            text = f"perhaps a picture of a face: liveness score {fused:.2f}"
            return Liveness.UNDECIDED, Reason(ReasonCode.LIVENESS_UNCERTAIN, text)
        if not self.has_moved:
            return Liveness.UNDECIDED, NO_3D_MOTION
        return Liveness.LIVE, Reason(ReasonCode.LIVE, f"liveness score {fused:.2f}")

    def mark_spoof(self) -> None:
        """Make the face a spoof for good."""
        self.spoof = True
