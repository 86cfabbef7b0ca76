"""Voting: what the looks at one face say together about who it is.

Each look is a vote: for a person, ambiguous between several, or for no one enrolled. A name needs
enough agreeing votes of a live face and a minimum ratio of all votes, so that one good look does
not outvote eleven bad ones.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.people import reasons
from edge.people.gallery.index import NO_PERSON, Index, IndexedPerson
from edge.people.reasons import Reason
from edge.types import F32, ReasonCode

MAX_LOOKS = 15  # only the latest count


@dataclass(frozen=True, slots=True)
class VotingRules:
    """When votes make a name. Raising any of them names fewer faces.

    Attributes:
        threshold: Cosine from which a look may be a person's.
        min_margin: By which the nearest person must be ahead of the second.
        min_votes: Agreeing votes of a live face.
        min_ratio: Agreeing votes over all votes.
    """

    threshold: float
    min_margin: float
    min_votes: int
    min_ratio: float


@dataclass(frozen=True, slots=True)
class Vote:
    """The verdict of one look.

    Attributes:
        person: The person it is for; None when ambiguous or unknown.
        ambiguous: Near enough to several people.
        similarity: Cosine to the nearest person, -1 without one.
        margin: By which that person is ahead of the second.
    """

    person: IndexedPerson | None
    ambiguous: bool
    similarity: float
    margin: float


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A look at a face with its vote.

    Attributes:
        embedding: ``(D,)`` float32.
        live: Whether the face seemed live in it.
    """

    embedding: F32
    vote: Vote
    at_s: float
    live: bool


@dataclass(frozen=True, slots=True)
class VoteResult:
    """The outcome of all votes.

    Attributes:
        person: The winner, or None.
        unknown: Enough votes say that the face is not of an enrolled person.
        similarity: The best of the votes it rests on; NaN without votes.
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
        near = row != NO_PERSON and similarity >= rules.threshold
        clear = margin >= rules.min_margin
        person = index.people[row] if near and clear else None
        votes.append(Vote(person, near and not clear, similarity, margin))
    return votes


class VoteWindow:
    """The latest looks at one face."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque(maxlen=MAX_LOOKS)

    def __len__(self) -> int:
        return len(self._looks)

    def add(self, embedding: F32, vote: Vote, at_s: float, *, live: bool) -> None:
        """Add a look."""
        self._looks.append(Look(embedding, vote, at_s, live))

    def rematch(self, index: Index, rules: VotingRules) -> None:
        """Match all looks with another gallery."""
        if not self._looks:
            return
        votes = match_votes(index, np.stack([look.embedding for look in self._looks]), rules)
        looks = [replace(look, vote=v) for look, v in zip(self._looks, votes, strict=True)]
        self._looks = deque(looks, maxlen=MAX_LOOKS)

    def mean_similarity(self, embedding: F32) -> float:
        """Mean cosine of ``(D,)`` to the looks; 1 without any, NaN if the embedding has NaN."""
        if not self._looks:
            return 1.0
        embeddings = np.stack([look.embedding for look in self._looks])
        return float(np.mean(np.einsum("td,d->t", embeddings, embedding)))

    def decide(self, rules: VotingRules) -> VoteResult:
        """Count the votes."""
        nan, total = float("nan"), len(self._looks)
        if not total:
            return VoteResult(None, False, nan, nan, 0, nan, reasons.NOT_COMPARED)
        leader, agreeing = self._find_leader()
        agree = f"{agreeing} of {total} looks at a live face agree"
        if agreeing >= rules.min_votes and agreeing >= rules.min_ratio * total:
            votes_for = [look for look in self._looks if look.vote.person == leader]
            best = _find_best(votes_for)
            seen_s = max(look.at_s for look in votes_for)
            reason = Reason(ReasonCode.VOTES_AGREE, agree)
            return VoteResult(leader, False, best.similarity, best.margin, agreeing, seen_s, reason)
        best = _find_best(self._looks)
        against = [look.vote for look in self._looks if look.vote.person is None]
        is_unknown = len(against) >= rules.min_votes and len(against) >= rules.min_ratio * total
        if not is_unknown:
            text = f"{agree}, {rules.min_votes} and {rules.min_ratio:.0%} are needed"
            reason = Reason(ReasonCode.TOO_FEW_VOTES, text)
        elif sum(vote.ambiguous for vote in against) > len(against) / 2:
            reason = reasons.AMBIGUOUS
        else:
            text = f"nearest similarity {best.similarity:.2f}, {rules.threshold:.2f} is needed"
            reason = Reason(ReasonCode.NOT_ENROLLED, text)
        count = len(against) if is_unknown else agreeing
        return VoteResult(None, is_unknown, best.similarity, best.margin, count, nan, reason)

    def _find_leader(self) -> tuple[IndexedPerson | None, int]:
        """The person with most votes of a live face, and how many."""
        counts = Counter(
            look.vote.person for look in self._looks
            if look.vote.person is not None and look.live
        )  # fmt: skip
        return counts.most_common(1)[0] if counts else (None, 0)


def _find_best(looks: Sequence[Look]) -> Vote:
    return max((look.vote for look in looks), key=lambda vote: vote.similarity)
