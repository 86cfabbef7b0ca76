"""Voting: what the looks at one face say together about who it is.

The looks at a live face are fused into one embedding (see `fusion`), and the person it is nearest
to is the candidate. Each look is a vote besides: with the candidate or not. A name needs enough
agreeing votes and a minimum ratio of all votes, so that the looks at two people who were taken for
one face name neither.

Measured by tests/benchmarks/tracks.py on ytf_dev with embed-nano (125 of 250 people enrolled from
one video, tracks of 3 or 4 frames, thresholds for FPIR 1 %): 21.5 % of the tracks of enrolled
people are not named, with votes alone 31.6 %, because each look had to exceed what the fused ones
must. The votes cost 0.7 of these points; of tracks that are half a stranger's 0.3 % are named, by
the fused looks alone 44 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.people import reasons
from edge.people.fusion import fuse
from edge.people.gallery.index import NO_PERSON, Index, IndexedPerson
from edge.people.reasons import Reason
from edge.types import F32, ReasonCode

MAX_LOOKS = 15  # that count
OLDEST = 5  # of these the worst look makes room for a new one
LOOK_RATIO = 0.7  # of the threshold of a track: a look that is less similar does not agree


@dataclass(frozen=True, slots=True)
class VotingRules:
    """When looks make a name. Raising any of them names fewer faces.

    Attributes:
        threshold: Cosine that the fused looks must have to a person.
        min_margin: By which that person must be ahead of the second.
        min_votes: Agreeing looks at a live face.
        min_ratio: Agreeing looks over all looks.
        look_threshold: Cosine that a single look must have to agree.
    """

    threshold: float
    min_margin: float
    min_votes: int
    min_ratio: float
    look_threshold: float


@dataclass(frozen=True, slots=True)
class Vote:
    """The verdict of one embedding: of a look, or of all looks fused.

    Attributes:
        nearest: The nearest person, however far; None without one.
        person: That person, if near enough to be named and ahead of the second; else None.
        ambiguous: Near enough to several people.
        similarity: Cosine to the nearest person, -1 without one.
        margin: By which that person is ahead of the second.
    """

    nearest: IndexedPerson | None
    person: IndexedPerson | None
    ambiguous: bool
    similarity: float
    margin: float


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A look at a face with its vote.

    Attributes:
        embedding: ``(D,)`` float32.
        quality: 0..1.
        live: Whether the face seemed live in it.
    """

    embedding: F32
    vote: Vote
    quality: float
    at_s: float
    live: bool


@dataclass(frozen=True, slots=True)
class VoteResult:
    """The outcome of all votes.

    Attributes:
        person: The person named, or None.
        unknown: Enough looks say that the face is not of an enrolled person.
        similarity: Cosine of the fused looks to the nearest person; NaN without looks.
        margin: By which that person is ahead of the second.
        votes: Number of agreeing votes.
        seen_s: When the person was last voted for, monotonic seconds; NaN without a person.
    """

    person: IndexedPerson | None
    unknown: bool
    similarity: float
    margin: float
    votes: int
    seen_s: float
    reason: Reason


def match_votes(index: Index, embeddings: F32, rules: VotingRules) -> list[Vote]:
    """Search for ``(M, D)`` unit vectors; any other vector is unknown."""
    matches = index.search(embeddings)
    columns = (matches.person_row, matches.similarity, matches.margin)
    votes = []
    for row, similarity, margin in zip(*(column.tolist() for column in columns), strict=True):
        nearest = index.people[row] if row != NO_PERSON else None
        near = nearest is not None and similarity >= rules.threshold
        clear = margin >= rules.min_margin
        person = nearest if near and clear else None
        votes.append(Vote(nearest, person, near and not clear, similarity, margin))
    return votes


class VoteWindow:
    """The looks at one face that count: the latest, and the best of those before."""

    def __init__(self) -> None:
        self._looks: list[Look] = []
        self._fused = Vote(None, None, False, float("nan"), float("nan"))

    def __len__(self) -> int:
        return len(self._looks)

    def add(self, embedding: F32, vote: Vote, quality: float, at_s: float, *, live: bool) -> None:
        """Add a look; `match` must follow."""
        if len(self._looks) >= MAX_LOOKS:
            self._looks.remove(min(self._looks[:OLDEST], key=lambda look: look.quality))
        self._looks.append(Look(embedding, vote, quality, at_s, live))

    def match(self, index: Index, rules: VotingRules) -> None:
        """Compare the fused looks with the gallery."""
        live = [look for look in self._looks if look.live]
        chosen = live if len(live) >= rules.min_votes else self._looks
        if chosen:
            quality = np.array([look.quality for look in chosen], np.float32)
            fused = fuse(np.stack([look.embedding for look in chosen]), quality)
            (self._fused,) = match_votes(index, fused[None], rules)

    def rematch(self, index: Index, rules: VotingRules) -> None:
        """Match all looks with another gallery."""
        if not self._looks:
            return
        votes = match_votes(index, np.stack([look.embedding for look in self._looks]), rules)
        self._looks = [replace(look, vote=v) for look, v in zip(self._looks, votes, strict=True)]
        self.match(index, rules)

    def mean_similarity(self, embedding: F32) -> float:
        """Mean cosine of ``(D,)`` to the looks; 1 without any, NaN if the embedding has NaN."""
        if not self._looks:
            return 1.0
        embeddings = np.stack([look.embedding for look in self._looks])
        return float(np.mean(np.einsum("td,d->t", embeddings, embedding)))

    def decide(self, rules: VotingRules) -> VoteResult:
        """Name the candidate if enough looks agree."""
        nan, total, fused = float("nan"), len(self._looks), self._fused
        if not total:
            return VoteResult(None, False, nan, nan, 0, nan, reasons.NOT_COMPARED)
        agreeing = self._find_agreeing(rules)
        votes, near = len(agreeing), (fused.similarity, fused.margin)
        agree = f"{votes} of {total} looks at a live face agree"
        if fused.person and votes >= rules.min_votes and votes >= rules.min_ratio * total:
            seen_s = max(look.at_s for look in agreeing)
            reason = Reason(ReasonCode.VOTES_AGREE, agree)
            return VoteResult(fused.person, False, *near, votes, seen_s, reason)
        against = sum(look.vote.person is None for look in self._looks)
        is_unknown = against >= rules.min_votes and against >= rules.min_ratio * total
        if fused.person or not is_unknown:
            text = f"{agree}, {rules.min_votes} and {rules.min_ratio:.0%} are needed"
            reason = Reason(ReasonCode.TOO_FEW_VOTES, text)
            return VoteResult(None, False, *near, votes, nan, reason)
        text = f"nearest similarity {fused.similarity:.2f}, {rules.threshold:.2f} is needed"
        reason = reasons.AMBIGUOUS if fused.ambiguous else Reason(ReasonCode.NOT_ENROLLED, text)
        return VoteResult(None, True, *near, against, nan, reason)

    def _find_agreeing(self, rules: VotingRules) -> Sequence[Look]:
        """The looks at a live face that are nearest to the candidate, and near enough."""
        return [
            look
            for look in self._looks
            if look.live
            and look.vote.nearest == self._fused.nearest
            and look.vote.similarity >= rules.look_threshold
        ]
