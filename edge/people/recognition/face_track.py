"""Face tracks: what is known of one face that is followed, and what is decided from it."""

from __future__ import annotations

import math

import numpy as np

from edge.config import Recognition
from edge.people.liveness.clip import Clip
from edge.people.liveness.evidence import Evidence, LivenessPolicy, Verdict
from edge.people.reasons import (
    FROZEN_PICTURE,
    NO_3D_MOTION,
    NO_LIVENESS_MODEL,
    NOT_COMPARED,
    Reason,
)
from edge.people.recognition.voting import VoteResult, VoteWindow, VotingRules
from edge.types import U8, Decision, Liveness, Outcome, ReasonCode

ENOUGH_LOOKS = 15  # a face that is undecided after that many is looked at only for refreshes
BETTER = 1.3  # times as large as at its best look: worth another one
MAX_POOR_LOOKS = 3  # in a row: the face is rejected

UNCHECKED = Verdict(Liveness.NOT_CHECKED, NO_LIVENESS_MODEL, math.nan, ())
NEW, BETTER_CROP, REFRESH, NOT_DUE = 3, 2, 1, 0


class FaceTrack:
    """One face.

    Args:
        owner: Track of the person the face belongs to, -1 without one.
        spoof_s: When that person showed a picture of a face, monotonic seconds; -inf if never.
    """

    def __init__(
        self,
        settings: Recognition,
        policy: LivenessPolicy,
        track: int,
        owner: int,
        *,
        spoof_s: float = -math.inf,
    ) -> None:
        self.owner = owner
        self.quality = 0.0
        self.looked_s = -math.inf
        self._settings = settings
        self._policy = policy
        self._track = track
        self.evidence = Evidence(policy, spoof_s=spoof_s)
        self._reported: tuple[object, ...] = ()
        self._settled = self._was_known = False
        self.reset()

    def reset(self) -> None:
        """Forget all looks, because it is another face."""
        self.votes = VoteWindow()
        self.evidence.forget()
        self._clip = Clip()
        self._crop = np.zeros(0, np.uint8)
        self._best_px = 0.0
        self._looks = 0
        self._poor_looks, self._poor_reason = 0, NOT_COMPARED

    # --- looking --------------------------------------------------------------------------------

    def rank(self, now_s: float, visible_px: float) -> int:
        """How much a look is worth now: NEW, BETTER_CROP, REFRESH or NOT_DUE."""
        waited_s = now_s - self.looked_s
        if waited_s < self._settings.look_every_s:
            return NOT_DUE
        if not self._settled and self._looks < ENOUGH_LOOKS:
            return NEW
        if self._settled and self.evidence.is_doubtful(now_s):  # a bad view, or another face?
            return BETTER_CROP
        if visible_px >= BETTER * self._best_px:
            return BETTER_CROP
        return REFRESH if waited_s >= self._settings.refresh_s else NOT_DUE

    def reject(self, reason: Reason) -> None:
        """Count a look that shows too little."""
        self._poor_looks, self._poor_reason = self._poor_looks + 1, reason

    def withdraw(self, reason: Reason) -> None:
        """Forget all looks, because the camera shows nothing that lives."""
        if len(self.votes):
            self.reset()
        self.reject(reason)

    def admit(self, crop: U8, at_s: float, visible_px: float, issues: tuple[Reason, ...]) -> bool:
        """Take a look at an aligned crop and say whether it is worth comparing.

        Identical pixels show nothing new: neither a vote nor a sign of life.
        """
        self.looked_s = at_s
        if issues:
            self.reject(issues[0])
            return False
        if np.array_equal(crop, self._crop):
            self.reject(FROZEN_PICTURE)
            return False
        self._crop = crop
        self._best_px = max(self._best_px, visible_px)
        self._looks += 1
        self._poor_looks, self._poor_reason = 0, NOT_COMPARED
        return True

    def add_to_clip(self, crops: U8, at_s: float, length: int, max_s: float) -> U8 | None:
        """Add wide crops; returns the clip once it is complete, see `Clip.add`."""
        return self._clip.add(crops, at_s, length, max_s)

    # --- deciding -------------------------------------------------------------------------------

    def decide(
        self, now_s: float, rules: VotingRules, *, checked: bool, closed: Reason | None
    ) -> Decision:
        """Decide about the face from all looks so far.

        Args:
            now_s: Monotonic seconds.
            rules: Rules of the votes.
            checked: Whether there is a liveness model.
            closed: Why no names can be given; None when they can.
        """
        verdict = UNCHECKED
        if checked or self.evidence.is_spoof_for_good:
            verdict = self.evidence.judge(now_s)
        result = self.votes.decide(rules)
        outcome, reason = self._decide_outcome(result, verdict, now_s, closed)
        if self._was_known and outcome is not Outcome.KNOWN:
            self._looks = 0  # so that a living face regains its name soon
        self._was_known = outcome is Outcome.KNOWN
        # an unknown face has no name to lose: refreshes suffice once the model has scored it
        self._settled = outcome in (Outcome.KNOWN, Outcome.SPOOF) or (
            outcome is Outcome.UNKNOWN and (not checked or self.evidence.has_enough_scores(now_s))
        )
        person = result.person if outcome is Outcome.KNOWN else None
        return Decision(
            track_id=self.owner if self.owner >= 0 else self._track,
            outcome=outcome,
            person=person.id if person else "",
            name=person.name if person else "",
            similarity=result.similarity,
            margin=result.margin,
            liveness=verdict.liveness,
            live_score=verdict.score,
            votes=result.votes,
            reason=reason.text,
            reason_code=reason.code,
            evidence=tuple((name, told.strongest) for name, told in verdict.testimony),
            looks=len(self.votes),
            needs=() if closed else self._list_needs(rules),
        )

    def _list_needs(self, rules: VotingRules) -> tuple[tuple[str, float], ...]:
        """What a name needs, see `Decision.needs`."""
        votes = max(rules.min_votes, math.ceil(rules.min_ratio * len(self.votes)))
        needs = (("similarity", rules.threshold), ("margin", rules.min_margin), ("votes", votes))
        if not self._settings.require_liveness:
            return needs
        return (*needs, ("live_score", self.evidence.needed_score))

    def _decide_outcome(
        self,
        result: VoteResult,
        verdict: Verdict,
        now_s: float,
        closed: Reason | None,
    ) -> tuple[Outcome, Reason]:
        if verdict.liveness is Liveness.SPOOF:
            return Outcome.SPOOF, verdict.reason
        if closed:
            return Outcome.UNDECIDED, closed
        if not len(self.votes):
            if self._poor_looks >= MAX_POOR_LOOKS:
                return Outcome.REJECTED, self._poor_reason
            return Outcome.UNDECIDED, result.reason
        if result.unknown:
            return Outcome.UNKNOWN, result.reason
        if self._settings.require_liveness and verdict.liveness is not Liveness.LIVE:
            return Outcome.UNDECIDED, verdict.reason
        if result.person is None:
            return Outcome.UNDECIDED, result.reason
        if not self.evidence.has_moved:
            return Outcome.UNDECIDED, NO_3D_MOTION
        if not now_s - result.seen_s <= self._settings.hold_s:
            text = f"not recognized for {self._settings.hold_s:.0f} s"
            return Outcome.UNDECIDED, Reason(ReasonCode.NOT_SEEN_LATELY, text)
        return Outcome.KNOWN, result.reason

    def is_news(self, decision: Decision) -> bool:
        """Whether outcome, person, liveness or track differ from what was reported last."""
        report = (decision.track_id, decision.outcome, decision.person, decision.liveness)
        news = report != self._reported and (
            decision.outcome is not Outcome.UNDECIDED or bool(self._reported)
        )
        if news:
            self._reported = report
        return news
