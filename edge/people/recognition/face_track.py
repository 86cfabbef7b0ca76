"""A dossier: what is known of one face that is followed, and what is decided from it."""

from __future__ import annotations

import math

import numpy as np

from edge.config import Recognition
from edge.people.liveness.clip import Clip
from edge.people.liveness.score_fusion import Demands, Vitality
from edge.people.reasons import (
    FROZEN_PICTURE,
    NO_3D_MOTION,
    NO_LIVENESS_MODEL,
    NOT_COMPARED,
    Reason,
)
from edge.people.recognition.voting import Ballot, Rules, Verdict
from edge.types import U8, Decision, Liveness, Outcome, ReasonCode

ENOUGH_LOOKS = 15  # a face that is undecided after them waits for refreshes
BETTER = 1.3  # shows so much more than at its best look: worth another one
POOR_LOOKS = 3  # in a row: the face is rejected

NEW, BETTER_CROP, REFRESH, NOT_DUE = 3, 2, 1, 0


class Dossier:
    """One face.

    Args:
        settings: budgets and times.
        demands: what a living face must show.
        track: the face's own track.
        owner: track of the person in whom it lies, -1 for none.
        spoofed: that person showed a picture of a face before.
    """

    def __init__(
        self, settings: Recognition, demands: Demands, track: int, owner: int, *, spoofed: bool
    ) -> None:
        self.owner = owner
        self.quality = 0.0
        self.looked_s = -math.inf
        self._settings = settings
        self._demands = demands
        self._track = track
        self.vitality = Vitality(demands, spoof=spoofed)
        self.begin_anew()
        self._told: tuple[object, ...] = ()
        self._settled = False

    def begin_anew(self) -> None:
        """Forget all looks: it is another face. A picture of a face stays one."""
        self.ballot = Ballot()
        self.vitality = Vitality(self._demands, spoof=self.vitality.spoof)
        self._clip = Clip()
        self._crop = np.zeros(0, np.uint8)
        self._best_px = 0.0
        self._looks = 0
        self._poor, self._why_poor = 0, NOT_COMPARED

    # --- looking --------------------------------------------------------------------------------

    def urgency(self, now_s: float, shown_px: float) -> int:
        """How much a look is worth now: NEW, BETTER_CROP, REFRESH or NOT_DUE."""
        waited_s = now_s - self.looked_s
        if waited_s < self._settings.look_every_s:
            return NOT_DUE
        if not self._settled and self._looks < ENOUGH_LOOKS:
            return NEW
        if shown_px >= BETTER * self._best_px:
            return BETTER_CROP
        return REFRESH if waited_s >= self._settings.refresh_s else NOT_DUE

    def refuse(self, why: Reason) -> None:
        """A look that shows too little."""
        self._poor, self._why_poor = self._poor + 1, why

    def admit(self, crop: U8, at_s: float, shown_px: float, refusals: tuple[Reason, ...]) -> bool:
        """Take a look at an aligned crop; whether it is worth comparing.

        The very same pixels once more show nothing new: neither a vote nor life.
        """
        self.looked_s = at_s
        if refusals:
            self.refuse(refusals[0])
            return False
        if np.array_equal(crop, self._crop):
            self.refuse(FROZEN_PICTURE)
            return False
        self._crop = crop
        self._best_px = max(self._best_px, shown_px)
        self._looks += 1
        self._poor, self._why_poor = 0, NOT_COMPARED
        return True

    def clip(self, crops: U8, at_s: float, length: int, most_s: float) -> U8 | None:
        """Add wide crops; the clip once it is whole, see `Clip.add`."""
        return self._clip.add(crops, at_s, length, most_s)

    # --- deciding -------------------------------------------------------------------------------

    def decide(
        self, now_s: float, rules: Rules, *, checked: bool, closed: Reason | None
    ) -> Decision:
        """What is to be said of the face now.

        Args:
            now_s: monotonic seconds.
            rules: of the votes.
            checked: there is a liveness network.
            closed: why nobody may be named; None when people may.
        """
        liveness, alive = Liveness.NOT_CHECKED, NO_LIVENESS_MODEL
        if checked or self.vitality.spoof:
            liveness, alive = self.vitality.state(now_s)
        verdict = self.ballot.verdict(rules)
        outcome, reason = self._outcome(verdict, liveness, alive, now_s, closed)
        # a stranger has no name to lose: once the network was asked, refreshes will do
        self._settled = outcome in (Outcome.KNOWN, Outcome.SPOOF) or (
            outcome is Outcome.UNKNOWN and (not checked or self.vitality.is_asked(now_s))
        )
        person = verdict.person if outcome is Outcome.KNOWN else None
        return Decision(
            track_id=self.owner if self.owner >= 0 else self._track,
            outcome=outcome,
            person=person.id if person else "",
            name=person.name if person else "",
            similarity=verdict.similarity,
            margin=verdict.margin,
            liveness=liveness,
            live_score=self.vitality.fused(now_s),
            votes=verdict.votes,
            reason=reason.text,
            reason_code=reason.code,
        )

    def _outcome(
        self,
        verdict: Verdict,
        liveness: Liveness,
        alive: Reason,
        now_s: float,
        closed: Reason | None,
    ) -> tuple[Outcome, Reason]:
        if liveness is Liveness.SPOOF:
            return Outcome.SPOOF, alive
        if closed:
            return Outcome.UNDECIDED, closed
        if not len(self.ballot):
            if self._poor >= POOR_LOOKS:
                return Outcome.REJECTED, self._why_poor
            return Outcome.UNDECIDED, verdict.reason
        if verdict.unknown:
            return Outcome.UNKNOWN, verdict.reason
        if self._settings.require_liveness and liveness is not Liveness.LIVE:
            return Outcome.UNDECIDED, alive
        if verdict.person is None:
            return Outcome.UNDECIDED, verdict.reason
        if not self.vitality.stirred:
            return Outcome.UNDECIDED, NO_3D_MOTION
        if not now_s - verdict.seen_s <= self._settings.hold_s:
            text = f"not recognized for {self._settings.hold_s:.0f} s"
            return Outcome.UNDECIDED, Reason(ReasonCode.NOT_SEEN_LATELY, text)
        return Outcome.KNOWN, verdict.reason

    def is_news(self, decision: Decision) -> bool:
        """Whether outcome, person, liveness or track differ from what was told last."""
        telling = (decision.track_id, decision.outcome, decision.person, decision.liveness)
        news = telling != self._told and (
            decision.outcome is not Outcome.UNDECIDED or bool(self._told)
        )
        if news:
            self._told = telling
        return news
