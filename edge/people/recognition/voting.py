"""Votes: what the looks at one face say together about who it is.

Each look is a vote: for a person, ambiguous between several, or for nobody that is known. One
good look does not outvote eleven bad ones: a name needs enough agreeing votes of a living face,
and a share of all votes.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

from edge.people import reasons
from edge.people.gallery.index import NOBODY, Index, IndexedPerson
from edge.people.reasons import Reason
from edge.types import F32, ReasonCode

MOST = 15  # the latest looks count


@dataclass(frozen=True, slots=True)
class Rules:
    """When votes make a name. Raising any of them names fewer.

    Attributes:
        threshold: cosine from which on a face may be somebody's.
        min_margin: by which the nearest person must be ahead of the second.
        min_votes: agreeing votes of a living face.
        min_share: of all votes.
    """

    threshold: float
    min_margin: float
    min_votes: int
    min_share: float


@dataclass(frozen=True, slots=True)
class Vote:
    """What one look says.

    Attributes:
        person: who, or None for ambiguous and unknown.
        ambiguous: near enough to several.
        similarity: cosine to the nearest person, -1 for nobody.
        margin: by which that one is ahead of the second.
    """

    person: IndexedPerson | None
    ambiguous: bool
    similarity: float
    margin: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all votes say.

    Attributes:
        person: who, or None.
        unknown: enough votes say that it is nobody who is enrolled.
        similarity: the best of the votes it rests on; NaN without votes.
        margin: of that same vote; NaN without votes.
        votes: how many agree.
        seen_s: when the person was last voted for, monotonic seconds; NaN without a person.
        reason: why.
    """

    person: IndexedPerson | None
    unknown: bool
    similarity: float
    margin: float
    votes: int
    seen_s: float
    reason: Reason


def votes_of(index: Index, embeddings: F32, rules: Rules) -> list[Vote]:
    """Search ``(M, D)`` unit vectors; M votes. What is no unit vector votes for nobody."""
    found = index.search(embeddings)
    columns = zip(
        found.person_row.tolist(), found.similarity.tolist(), found.margin.tolist(), strict=True
    )
    votes = []
    for row, similarity, margin in columns:
        near = row != NOBODY and similarity >= rules.threshold
        clear = margin >= rules.min_margin
        person = index.people[row] if near and clear else None
        votes.append(Vote(person, near and not clear, similarity, margin))
    return votes


class Ballot:
    """The latest votes on one face."""

    def __init__(self) -> None:
        self._embeddings: deque[F32] = deque(maxlen=MOST)
        self._votes: deque[Vote] = deque(maxlen=MOST)
        self._live: deque[bool] = deque(maxlen=MOST)
        self._at_s: deque[float] = deque(maxlen=MOST)

    def __len__(self) -> int:
        """How many votes count."""
        return len(self._votes)

    def cast(self, embedding: F32, vote: Vote, at_s: float, *, live: bool) -> None:
        """Add a look: ``(D,)``, what it says, when, and whether the face seemed alive in it."""
        self._embeddings.append(embedding)
        self._votes.append(vote)
        self._live.append(live)
        self._at_s.append(at_s)

    def recast(self, index: Index, rules: Rules) -> None:
        """Ask another gallery about all looks."""
        if self._votes:
            self._votes = deque(votes_of(index, np.stack(self._embeddings), rules), maxlen=MOST)

    def likeness(self, embedding: F32) -> float:
        """Mean cosine of ``(D,)`` to the looks so far; 1 without any, NaN for no numbers."""
        if not self._embeddings:
            return 1.0
        return float(np.mean(np.einsum("td,d->t", np.stack(self._embeddings), embedding)))

    def verdict(self, rules: Rules) -> Verdict:
        """What the votes say together."""
        total = len(self._votes)
        if not total:
            nan = float("nan")
            return Verdict(None, False, nan, nan, 0, nan, reasons.NOT_COMPARED)
        leader, agreeing = self._leader()
        best = max(self._votes, key=lambda vote: vote.similarity)
        agree = f"{agreeing} of {total} looks at a living face agree"
        if agreeing >= rules.min_votes and agreeing >= rules.min_share * total:
            rests = [vote for vote in self._votes if vote.person == leader]
            best = max(rests, key=lambda vote: vote.similarity)
            seen_s = max(
                at_s for vote, at_s in zip(self._votes, self._at_s, strict=True)
                if vote.person == leader
            )  # fmt: skip
            said = Reason(ReasonCode.VOTES_AGREE, agree)
            return Verdict(leader, False, best.similarity, best.margin, agreeing, seen_s, said)
        nobody = [vote for vote in self._votes if vote.person is None]
        is_unknown = len(nobody) >= rules.min_votes and len(nobody) >= rules.min_share * total
        if not is_unknown:
            needed = f"{agree}, needed are {rules.min_votes} and {rules.min_share:.0%}"
            reason = Reason(ReasonCode.TOO_FEW_VOTES, needed)
        elif sum(vote.ambiguous for vote in nobody) > len(nobody) / 2:
            reason = reasons.AMBIGUOUS
        else:
            needed = f"nearest similarity {best.similarity:.2f}, needed is {rules.threshold:.2f}"
            reason = Reason(ReasonCode.NOT_ENROLLED, needed)
        count = len(nobody) if is_unknown else agreeing
        return Verdict(None, is_unknown, best.similarity, best.margin, count, float("nan"), reason)

    def _leader(self) -> tuple[IndexedPerson | None, int]:
        """Who has most votes of a living face, and how many."""
        counts = Counter(
            vote.person for vote, live in zip(self._votes, self._live, strict=True)
            if vote.person is not None and live
        )  # fmt: skip
        return counts.most_common(1)[0] if counts else (None, 0)
