"""Liveness evidence: is a face alive, judging by all that was seen of it in the last seconds?

The liveness model and the witnesses each say how much likelier what they saw is with a living face
than with an attack: a log-likelihood ratio in nats, positive for life. An attack is a *picture*
that is held or moved, or a *video* on a screen; a face that blinks or turns refutes the one and
not the other, so both are kept apart:

    picture = model + sum of the witnesses' ``picture``  >= logit(sure_score)
    video   = model + sum of the witnesses' ``video``    >= logit(live_score)

The model's part is the mean of the log-odds of its recent scores, which does not grow with their
number, because they are anything but independent. So a face of which the model is sure is alive
without more; where it is in doubt, movement decides. Unless the model is sure and the face shows
life, `MIN_LOOKS` come first: a video in which the face moves is no worse than a head at the first
looks, and its screen is found later. Anything missing, stale or NaN leaves the face undecided: only
positive evidence makes it `LIVE`.

Doubt takes a name away; it does not lock anybody out. A face that was alive stays so down to lower
scores, a spoof becomes undecided and alive again when the evidence has changed, but until
`CAUTION_S` after it the model must be sure. The strict policy, `Motion.ALWAYS`, asks for motion
whatever the model says and keeps a spoof for good.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge.compat import Self
from edge.config import Recognition
from edge.people.liveness.blink import BlinkWitness
from edge.people.liveness.motion import MotionWitness
from edge.people.liveness.screen import ScreenWitness
from edge.people.liveness.surroundings import SurroundingsWitness
from edge.people.liveness.witness import LivenessLook, Testimony, Witness
from edge.people.reasons import (
    LIVENESS_CLIP_TOO_SHORT,
    LIVENESS_MODEL_NAN,
    NO_3D_MOTION,
    SPOOFED_BEFORE,
    WITNESS_NAN,
    Reason,
)
from edge.types import Liveness, Motion, ReasonCode

WITNESSES: tuple[type[Witness], ...] = (
    MotionWitness, BlinkWitness, SurroundingsWitness, ScreenWitness,
)  # fmt: skip
MIN_SCORES = 3
MAX_CONFIDENCE = 0.99  # scores beyond it count as this
HALF_LIFE = 4  # scores until one counts half
MIN_LOOKS = 8  # before a face is live, since what gives an attack away may take that long
ROUNDING = 1e-6  # nats: models score in float32, where 0.95 lies below 0.95
LIFE_NATS = 1.0  # by which a picture must be refuted more than a video: something moved or blinked
MIN_SPOOF_SCORES = 6  # of a face that was alive: a bad view or two take away its name only
CAUTION_S = 10.0
KEEP_SCORE = 0.5  # down to which a face that was live stays so


@dataclass(frozen=True, slots=True)
class LivenessPolicy:
    """What a live face must show. Raising a score finds fewer faces live.

    Attributes:
        live_score: Fused score from which a face is live that showed life.
        sure_score: Fused score from which it is live without.
        spoof_score: Fused score up to which it is a spoof.
        window_s: Older scores do not count.
        motion: Whether a face must have changed as no flat picture does.
        silent: Names of witnesses that are not asked.
    """

    live_score: float
    sure_score: float
    spoof_score: float
    window_s: float
    motion: Motion = Motion.UNSURE
    silent: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def from_settings(cls, settings: Recognition) -> Self:
        """The policy of a configuration."""
        asked = {"unsure": Motion.UNSURE, True: Motion.ALWAYS, False: Motion.NEVER}
        return cls(
            settings.live_score, settings.sure_score, settings.spoof_score,
            settings.live_window_s, asked[settings.require_motion],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence says.

    Attributes:
        score: Fused, 0..1; NaN before the first score.
        testimony: What each witness added, by name, and the model's log-odds as ``model``.
    """

    liveness: Liveness
    reason: Reason
    score: float
    testimony: tuple[tuple[str, Testimony], ...]


def compute_logit(probability: float) -> float:
    """Log-odds of a probability, bounded by those of `MAX_CONFIDENCE`."""
    bound = min(max(probability, 1 - MAX_CONFIDENCE), MAX_CONFIDENCE)
    return math.log(bound / (1 - bound))


class Evidence:
    """What was seen of one face.

    Attributes:
        spoof_s: When it was a spoof last, monotonic seconds; -inf if never.
    """

    def __init__(self, policy: LivenessPolicy, *, spoof_s: float = -math.inf) -> None:
        self._policy = policy
        self.spoof_s = spoof_s
        self.forget()

    def forget(self) -> None:
        """Begin anew, because it may be another face; a spoof is remembered."""
        self._scores: deque[tuple[float, float]] = deque(maxlen=MIN_SCORES * 4)  # at_s, log-odds
        self._witnesses = [kind() for kind in WITNESSES if kind.name not in self._policy.silent]
        self._no_score: Reason | None = None  # why the latest look gave none
        self._was_live = False
        self._verdict = Liveness.UNDECIDED
        self._looks = 0

    @property
    def needed_score(self) -> float:
        """Fused score from which a face is live that shows life."""
        live_score = self._policy.live_score
        return min(KEEP_SCORE, live_score) if self._was_live else live_score

    @property
    def has_moved(self) -> bool:
        """Whether the face changed as no flat picture does, or need not."""
        return self._policy.motion is not Motion.ALWAYS or any(
            witness.name == MotionWitness.name and witness.testify().picture > 0
            for witness in self._witnesses
        )

    @property
    def is_spoof_for_good(self) -> bool:
        """Whether it was a spoof and the policy is strict."""
        return self._policy.motion is Motion.ALWAYS and self.spoof_s > -math.inf

    def add_look(self, look: LivenessLook) -> bool:
        """Let the witnesses look; False if what they see is not what they saw before.

        Then everything is forgotten but this look.
        """
        self._looks += 1
        same = [witness.look(look) for witness in self._witnesses]
        if all(same):
            return True
        self.forget()
        self._looks = 1
        for witness in self._witnesses:
            witness.look(look)
        return False

    def add_score(self, live: float | None, at_s: float) -> None:
        """Add the liveness model's score, NaN if it gave none; None while the clip is too short."""
        if live is None:
            self._no_score = None if self._scores else LIVENESS_CLIP_TOO_SHORT
        elif not 0 <= live <= 1:
            self._no_score = LIVENESS_MODEL_NAN
        else:
            self._no_score = None
            self._scores.append((at_s, compute_logit(live)))

    def has_enough_scores(self, now_s: float) -> bool:
        """Whether there are enough recent scores to trust, whatever they say."""
        return len(self._get_recent(now_s)) >= MIN_SCORES

    def is_doubtful(self, now_s: float) -> bool:
        """Whether the latest score speaks against the verdict: the next one should come soon."""
        recent = self._get_recent(now_s)
        if self._verdict is Liveness.LIVE:
            return not recent or recent[-1] < 0
        return self._verdict is Liveness.SPOOF and bool(recent) and recent[-1] > 0

    def _get_recent(self, now_s: float) -> list[float]:
        """Log-odds of the scores that count; one from the future is of another clock."""
        return [o for at_s, o in self._scores if 0 <= now_s - at_s <= self._policy.window_s]

    def judge(self, now_s: float) -> Verdict:
        """Live, spoof or undecided, and why."""
        recent = self._get_recent(now_s)
        model = _average(recent)
        heard = [(witness.name, witness.testify()) for witness in self._witnesses]
        testimony = (("model", Testimony(model, model)), *heard)
        picture = model + sum(told.picture for _, told in heard)
        video = model + sum(told.video for _, told in heard)
        score = 1 / (1 + math.exp(-min(picture, video))) if recent else math.nan
        liveness, reason = self._weigh(picture, video, now_s, testimony)
        if liveness is Liveness.SPOOF:
            self.spoof_s, self._was_live = now_s, False
        elif liveness is Liveness.LIVE:
            self._was_live = True
        self._verdict = liveness
        return Verdict(liveness, reason, score, testimony)

    def _weigh(
        self,
        picture: float,
        video: float,
        now_s: float,
        testimony: Sequence[tuple[str, Testimony]],
    ) -> tuple[Liveness, Reason]:
        policy = self._policy
        if self.is_spoof_for_good:
            return Liveness.SPOOF, SPOOFED_BEFORE
        if missing := self._find_missing(picture + video, now_s):
            return Liveness.UNDECIDED, missing
        least = min(picture, video)
        told = f"liveness score {1 / (1 + math.exp(-least)):.2f}{_describe(testimony)}"
        enough = MIN_SPOOF_SCORES if self._was_live else MIN_SCORES
        if len(self._get_recent(now_s)) >= enough and least <= compute_logit(policy.spoof_score):
            return Liveness.SPOOF, Reason(ReasonCode.SPOOF, f"a picture of a face: {told}")
        live, sure = policy.live_score, policy.sure_score
        if self._was_live:
            live = sure = min(KEEP_SCORE, live)
        elif policy.motion is Motion.NEVER:
            sure = live
        was_spoof = now_s - self.spoof_s < CAUTION_S
        if not video >= compute_logit(sure if was_spoof else live):
            text = f"perhaps a picture of a face: {told}"
            return Liveness.UNDECIDED, Reason(ReasonCode.LIVENESS_UNCERTAIN, text)
        shows_life = picture - video >= LIFE_NATS
        is_sure = shows_life and video >= compute_logit(policy.sure_score) - ROUNDING
        if not (self._was_live or self._looks >= MIN_LOOKS or is_sure):
            text = f"watched a little longer: {told}"
            return Liveness.UNDECIDED, Reason(ReasonCode.LIVENESS_PENDING, text)
        if not picture >= compute_logit(sure):
            text = f"nothing moved as only a head can, so it may be a photograph: {told}"
            return Liveness.UNDECIDED, Reason(ReasonCode.NO_3D_MOTION, text)
        if not self.has_moved:
            return Liveness.UNDECIDED, NO_3D_MOTION
        return Liveness.LIVE, Reason(ReasonCode.LIVE, told)

    def _find_missing(self, odds: float, now_s: float) -> Reason | None:
        """Why there is nothing to weigh yet, or any more."""
        recent = len(self._get_recent(now_s))
        if self._no_score:
            return self._no_score
        if not recent and self._scores:
            text = f"last liveness score {now_s - self._scores[-1][0]:.0f} s ago"
            return Reason(ReasonCode.LIVENESS_STALE, text)
        if recent < MIN_SCORES:
            text = f"{recent} of {MIN_SCORES} liveness scores so far"
            return Reason(ReasonCode.LIVENESS_PENDING, text)
        if not math.isfinite(odds):
            return WITNESS_NAN
        return None


def _average(odds: Sequence[float]) -> float:
    """Mean in which one counts half that is `HALF_LIFE` looks old; NaN of none."""
    if not odds:
        return math.nan
    weights = [math.pow(2, -age / HALF_LIFE) for age in reversed(range(len(odds)))]
    total: float = sum(w * o for w, o in zip(weights, odds, strict=True))
    return total / sum(weights)


def _describe(testimony: Sequence[tuple[str, Testimony]]) -> str:
    """The witnesses that said something, the strongest first."""
    said = [(told.strongest, name) for name, told in testimony[1:] if told.strongest]
    said.sort(key=lambda row: -abs(row[0]))
    return "".join(f", {name} {nats:+.1f}" for nats, name in said)
