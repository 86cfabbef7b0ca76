"""Calibration: the similarity a name needs, so that strangers are seldom named.

The false-positive identification rate (FPIR) of a gallery of N people is the share of looks at
strangers that come near enough to anybody in it. Comparisons of different people are the data:
of their similarities the highest hundredth is described by a generalised Pareto distribution
(Pickands 1975), fitted by probability-weighted moments (Hosking and Wallis 1987), so that rates
can be told that are rarer than the comparisons there are; N people are N independent chances.

A tail fitted to the pictures of a few dozen people is a guess, and a threshold that is as often too
low as too high lets through more than was asked for, because the rate falls exponentially. So
the people are drawn again and again with random weights (Rubin's Bayesian bootstrap 1981), and
the tail is made heavier by what the thresholds differ.

Measured by tests/benchmarks/calibration.py with MobileFaceNet on ytf_dev, one template a person,
calibrated on other people's pictures (50 people; 25 for N = 200) and on the gallery's own: realised
over asked FPIR, mean of 60 random splits, for N = 10, 100, 200: 0.97 0.97 0.89 at 10 %, 0.93 0.91
0.66 at 1 %, the last one 0.44 to 0.87. Without the heavier tail it was 1.0 1.2 1.4 at 1 %, with the
tail of all 250 people 1.02 1.04 0.95: independence holds, what strays is the guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.people.gallery.index import Index
from edge.types import F32, I32

F64 = NDArray[np.float64]

TAIL = 0.01  # share of the comparisons that are fitted
LEAST = 2000  # comparisons: with fewer the tail is twenty numbers
DRAWS = 60  # of the people
RATES = 10.0 ** np.arange(-2.5, -6, -0.5)  # of one comparison, at which thresholds are compared
MOST_SHAPE = 0.6  # more than the shape that was fitted


class CalibrationError(EdgeError):
    """There is too little to calibrate with."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Similarities of different people.

    Attributes:
        similarity: ``(P,)`` float32.
        one: ``(P,)`` int32, who is compared, by number.
        other: ``(P,)`` int32, with whom.
    """

    similarity: F32
    one: I32
    other: I32

    def __len__(self) -> int:
        """P."""
        return len(self.similarity)


@dataclass(frozen=True, slots=True)
class Tail:
    """How high the similarity of different people gets.

    Attributes:
        start: similarity that `TAIL` of the comparisons exceed.
        scale: of the Pareto distribution above it.
        shape: of the same; negative means that there is a highest similarity.
        comparisons: how many it rests on.
    """

    start: float
    scale: float
    shape: float
    comparisons: int

    @classmethod
    def fit(cls, similarities: F32) -> Self:
        """Describe ``(P,)`` similarities of different people.

        Raises:
            CalibrationError: too few.
        """
        if len(similarities) < LEAST:
            raise CalibrationError(
                f"{len(similarities)} comparisons of different people are too few, needed are "
                f"{LEAST}: give more pictures of more people who are not enrolled (--strangers)"
            )
        start = float(np.quantile(similarities, 1 - TAIL))
        above = np.sort(similarities[similarities > start].astype(np.float64)) - start
        count = len(above)
        mean = float(above.mean())
        weighted = float(np.mean((count - np.arange(1, count + 1)) / (count - 1) * above))
        shape = 2 - mean / (mean - 2 * weighted)
        scale = 2 * mean * weighted / (mean - 2 * weighted)
        return cls(start, scale, shape, len(similarities))

    @classmethod
    def of(cls, comparisons: Comparisons, seed: int = 0) -> Self:
        """Describe comparisons, heavier by what is not known because the people are so few.

        Raises:
            CalibrationError: too few.
        """
        fitted = cls.fit(comparisons.similarity)
        return fitted.doubted(comparisons, np.random.default_rng(seed))

    def doubted(self, comparisons: Comparisons, rng: np.random.Generator) -> Self:
        """A heavier tail: its rates are the mean of those that these people may have."""
        guesses = [
            [guess.similarity(rate) for rate in RATES] for guess in self._guesses(comparisons, rng)
        ]  # (DRAWS, R)
        best = np.array([self.similarity(rate) for rate in RATES])
        steep = 1 / np.maximum(self.scale + self.shape * (best - self.start), 0.3 * self.scale)
        # the mean of exp(x) is exp(variance / 2) times that of its mean
        raised = best + steep * np.var(guesses, axis=0) / 2

        def misfit(tail: Tail) -> float:
            told = np.array([tail.similarity(rate) for rate in RATES])
            return float(np.square(told - raised).sum())

        shapes = self.shape + np.linspace(0, MOST_SHAPE, 241)
        return min((replace(self, shape=shape) for shape in shapes.tolist()), key=misfit)

    def _guesses(self, comparisons: Comparisons, rng: np.random.Generator) -> Iterator[Self]:
        """Tails of the same comparisons, the people weighted at random."""
        floor = np.quantile(comparisons.similarity, 1 - 4 * TAIL)
        rows = np.flatnonzero(comparisons.similarity > floor)
        rows = rows[np.argsort(comparisons.similarity[rows])]
        highest = comparisons.similarity[rows].astype(np.float64)
        one, other = comparisons.one[rows], comparisons.other[rows]
        people = int(max(comparisons.one.max(), comparisons.other.max())) + 1
        pairs = comparisons.one.astype(np.int64) * people + comparisons.other
        count = np.bincount(pairs, minlength=people**2).reshape(people, people)
        for _ in range(DRAWS):
            weight = rng.exponential(size=people)
            total = float(weight @ count @ weight)  # of all comparisons
            start, scale, shape = _weighted(highest, weight[one] * weight[other], total)
            yield replace(self, start=start, scale=scale, shape=shape)

    def similarity(self, rate: float) -> float:
        """What one comparison of different people exceeds with probability ``rate`` <= `TAIL`."""
        ratio = rate / TAIL
        if abs(self.shape) < 1e-6:
            return self.start - self.scale * float(np.log(ratio))
        return self.start + self.scale / self.shape * (float(ratio**-self.shape) - 1)

    def rate(self, similarity: float) -> float:
        """How often one comparison of different people exceeds ``similarity`` >= `start`."""
        above = (similarity - self.start) / self.scale
        if abs(self.shape) < 1e-6:
            return TAIL * float(np.exp(-above))
        return TAIL * float(max(1 + self.shape * above, 0.0) ** (-1 / self.shape))


@dataclass(frozen=True, slots=True)
class Calibration:
    """A tail and the rate that was asked for.

    Attributes:
        tail: of the embedder, on these people.
        fpir: share of looks at strangers that may come near enough to anybody.
    """

    tail: Tail
    fpir: float

    def threshold(self, people: int) -> float:
        """Similarity that a name needs in a gallery of so many people."""
        each = 1 - (1 - self.fpir) ** (1 / max(people, 1))
        return self.tail.similarity(min(each, TAIL)) if each < TAIL else self.tail.start

    def fpir_of(self, threshold: float, people: int) -> float:
        """What the rate is at another threshold."""
        return 1 - (1 - min(self.tail.rate(max(threshold, self.tail.start)), 1.0)) ** people

    def values(self) -> dict[str, float]:
        """As a gallery stores it."""
        return {"fpir": self.fpir, **asdict(self.tail)}

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Self:
        """What `values` gave."""
        tail = Tail(values["start"], values["scale"], values["shape"], int(values["comparisons"]))
        return cls(tail, values["fpir"])


def _weighted(rising: F64, weight: F64, total: float) -> tuple[float, float, float]:
    """Start, scale and shape as in `Tail.fit`, of weighted similarities in rising order.

    Args:
        rising: the highest of all.
        weight: of each.
        total: of all, the lower ones included.
    """
    above = np.cumsum(weight[::-1])[::-1]  # weight from here up
    first = int(np.count_nonzero(above > TAIL * total))
    first = min(max(first, 1), len(rising) - 2)
    start = float(rising[first - 1])
    excess, share = rising[first:] - start, weight[first:] / weight[first:].sum()
    survive = np.cumsum(share[::-1])[::-1] - share / 2
    mean, weighted = float(share @ excess), float((share * survive) @ excess)
    return start, 2 * mean * weighted / (mean - 2 * weighted), 2 - mean / (mean - 2 * weighted)


def impostors(index: Index, strangers: Sequence[F32]) -> Comparisons:
    """Similarities of different people: all there are.

    Args:
        index: the gallery.
        strangers: ``(t, D)`` float32 of unit length for each person who is not in it.

    Returns:
        Of each template to each other person, the nearest template counts, as in a search; a
        stranger's pictures are compared one by one. The gallery's people come first.
    """
    templates = np.split(index.templates, index.starts[1:]) if len(index) else []
    known = np.arange(len(templates), dtype=np.int32)
    parts: list[tuple[F32, int, I32]] = []
    for row, own in enumerate(templates):
        others = np.delete(known, row)
        parts += [(index.similarities(template)[others], row, others) for template in own]
    owner = [
        np.full(len(pictures), len(known) + n, np.int32) for n, pictures in enumerate(strangers)
    ]
    for row, own in enumerate(strangers):
        rest = strangers[row + 1 :]
        later = np.concatenate(rest) if rest else np.zeros((0, own.shape[1]), np.float32)
        theirs = np.concatenate([np.zeros(0, np.int32), *owner[row + 1 :]])
        for template in own:
            if len(index):
                parts.append((index.similarities(template), len(known) + row, known))
            parts.append((np.einsum("td,d->t", later, template), len(known) + row, theirs))
    similarity, one, other = zip(*parts, strict=True) if parts else ((), (), ())
    nothing = np.zeros(0, np.float32)
    return Comparisons(
        np.concatenate([nothing, *similarity]),
        np.repeat(np.array(one, np.int32), [len(part) for part in similarity]),
        np.concatenate([nothing.astype(np.int32), *other]),
    )
