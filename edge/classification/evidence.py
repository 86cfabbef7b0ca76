"""Evidence: what the looks of a classifier at one thing say together.

Each look gives calibrated probabilities. Their logarithms are summed over the latest `WINDOW` looks
and divided by the root of their number, so that N looks, which are anything but independent, weigh
as much as the root of N: looks of 75 % are enough for 90 % from the fourth on, looks of 60 % never
are. A look counts for at most `FLOOR` against a class, so that none decides alone.

A value is decided once it has the fused probability and the votes, and stays (hysteresis) until
either the *latest* looks in a row agree on another one, as many as votes are needed and sure enough
by themselves, or another one is ahead over a full window, which leaves it undecided. Of looks that
are wrong independently with probability e, a flip by mistake needs e to the power of the votes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from edge.types import F32

WINDOW = 15  # looks that count
ROUNDING = 1e-6  # models score in float32, where 0.9 lies below 0.9
FLOOR = 0.02  # probability of a class that a look can say at least: 3.9 nats


@dataclass(frozen=True, slots=True)
class Rules:
    """When looks decide. Raising either leaves more undecided.

    Attributes:
        min_votes: Looks that must agree, at most `WINDOW`.
        min_score: Fused probability that a value needs.
    """

    min_votes: int
    min_score: float


class Evidence:
    """The looks at one thing, and what is decided of it.

    Attributes:
        value: The class that is decided; None before, and where the looks contradict each other.
    """

    def __init__(self, rules: Rules) -> None:
        self.value: int | None = None
        self._rules = rules
        self._looks: deque[F32] = deque(maxlen=WINDOW)  # log-probabilities (K,)
        self._votes: deque[int] = deque(maxlen=WINDOW)  # the likeliest class of each
        self._fused = np.zeros(0, np.float32)

    def __len__(self) -> int:
        return len(self._looks)

    def add(self, probabilities: F32) -> None:
        """Take a look into account: ``(K,)`` probabilities that sum to 1."""
        self._looks.append(np.log(np.maximum(probabilities, FLOOR)))
        self._votes.append(int(probabilities.argmax()))
        self._fused = fuse(self._looks)
        best = int(self._fused.argmax())
        if self.value is None:
            if self._is_enough(self._votes.count(best), float(self._fused[best])):
                self.value = best
        elif self._votes[-1] != self.value:
            self._doubt(best)

    def _doubt(self, best: int) -> None:
        """Go on with what the latest looks say, if they say it surely; or with nothing."""
        latest = self._votes[-1]
        votes = sum(1 for _ in takewhile(lambda vote: vote == latest, reversed(self._votes)))
        run = list(self._looks)[-votes:]
        fused = fuse(run)
        if self._is_enough(votes, float(fused[latest])):
            self.value, self._fused = latest, fused
            self._looks = deque(run, WINDOW)
            self._votes = deque([latest] * votes, WINDOW)
        elif len(self) == WINDOW and best != self.value:
            self.value = None

    def _is_enough(self, votes: int, score: float) -> bool:
        return votes >= self._rules.min_votes and score >= self._rules.min_score - ROUNDING

    @property
    def is_settled(self) -> bool:
        """Whether more looks would hardly change anything: it is decided, or cannot be."""
        return len(self) == WINDOW if self.value is None else self._votes[-1] == self.value

    @property
    def likeliest(self) -> int:
        """What is decided, or the likeliest class; there must have been a look."""
        return int(self._fused.argmax()) if self.value is None else self.value

    @property
    def score(self) -> float:
        """Fused probability of the likeliest."""
        return float(self._fused[self.likeliest])

    @property
    def votes(self) -> int:
        """Number of looks that agree on the likeliest."""
        return self._votes.count(self.likeliest)


def fuse(looks: Iterable[F32]) -> F32:
    """Log-probabilities ``(K,)`` of N looks -> ``(K,)`` probabilities, see above."""
    stacked = np.stack(list(looks))  # (N, K)
    total = stacked.sum(axis=0) / np.sqrt(len(stacked))
    odds = np.exp(total - total.max())
    fused: F32 = np.asarray(odds / odds.sum(), np.float32)
    return fused
