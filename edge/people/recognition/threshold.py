"""Calibration: the similarity threshold at which strangers are rarely named.

The false-positive identification rate (FPIR) of a gallery of N people is the fraction of looks at
strangers that exceed the threshold with anybody in it. The data are comparisons of different
people: the highest hundredth of their similarities is described by a generalized Pareto
distribution (Pickands 1975), fitted by probability-weighted moments (Hosking and Wallis 1987), so
that rates below one over the number of comparisons can be estimated; N people are N independent
chances.

A tail fitted to a few dozen people is uncertain, and a threshold that is too low as often as too
high lets through more than requested, because the rate falls exponentially. So the people are
reweighted at random many times (Rubin's Bayesian bootstrap 1981), and the tail is made heavier
according to the spread of the thresholds.

Measured by tests/benchmarks/calibration.py with MobileFaceNet on ytf_dev, one template per person,
calibrated on other people's pictures (50 people; 25 for N = 200) and on the gallery's own: realized
over requested FPIR, mean of 60 random splits, for N = 10, 100, 200: 0.97 0.97 0.89 at 10 %, 0.93
0.91 0.66 at 1 %, the last one 0.44 to 0.87. Without the heavier tail it was 1.0 1.2 1.4 at 1 %,
with the tail of all 250 people 1.02 1.04 0.95: independence holds, the fit is what varies.
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

TAIL = 0.01  # fraction of the comparisons that is fitted
MIN_COMPARISONS = 2000  # with fewer the tail would be fitted to under twenty numbers
RESAMPLES = 60
RATES = 10.0 ** np.arange(-2.5, -6, -0.5)  # per comparison, at which thresholds are compared
MAX_ADDED_SHAPE = 0.6


class CalibrationError(EdgeError):
    """There are too few comparisons to calibrate with."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Similarities of different people.

    Attributes:
        similarity: ``(P,)`` float32.
        one: ``(P,)`` int32, number of the person who is compared.
        other: ``(P,)`` int32, number of the person compared with.
    """

    similarity: F32
    one: I32
    other: I32

    def __len__(self) -> int:
        return len(self.similarity)


@dataclass(frozen=True, slots=True)
class Tail:
    """Distribution of the highest similarities of different people.

    Attributes:
        start: Similarity that the fraction `TAIL` of the comparisons exceeds.
        scale: Scale of the Pareto distribution above it.
        shape: Shape of that distribution; negative if there is a highest similarity.
        comparisons: Number of comparisons it was fitted to.
    """

    start: float
    scale: float
    shape: float
    comparisons: int

    @classmethod
    def fit(cls, similarities: F32) -> Self:
        """Fit to ``(P,)`` similarities of different people.

        Raises:
            CalibrationError: There are too few.
        """
        if len(similarities) < MIN_COMPARISONS:
            raise CalibrationError(
                f"calibration needs {MIN_COMPARISONS} comparisons of different people, got "
                f"{len(similarities)}: give more pictures of more people who are not enrolled "
                "(--strangers)"
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
    def fit_conservatively(cls, comparisons: Comparisons, seed: int = 0) -> Self:
        """Fit to comparisons, with a tail that is heavier the fewer people there are.

        Raises:
            CalibrationError: There are too few.
        """
        fitted = cls.fit(comparisons.similarity)
        return fitted.widen(comparisons, np.random.default_rng(seed))

    def widen(self, comparisons: Comparisons, rng: np.random.Generator) -> Self:
        """A heavier tail, whose rates are the mean of the resampled ones."""
        samples = [
            [sample.similarity(rate) for rate in RATES]
            for sample in self._resample(comparisons, rng)
        ]  # (RESAMPLES, R)
        best = np.array([self.similarity(rate) for rate in RATES])
        steep = 1 / np.maximum(self.scale + self.shape * (best - self.start), 0.3 * self.scale)
        # the mean of exp(x) is exp(variance / 2) times that of its mean
        raised = best + steep * np.var(samples, axis=0) / 2

        def misfit(tail: Tail) -> float:
            similarities = np.array([tail.similarity(rate) for rate in RATES])
            return float(np.square(similarities - raised).sum())

        shapes = self.shape + np.linspace(0, MAX_ADDED_SHAPE, 241)
        return min((replace(self, shape=shape) for shape in shapes.tolist()), key=misfit)

    def _resample(self, comparisons: Comparisons, rng: np.random.Generator) -> Iterator[Self]:
        """Tails of the same comparisons with randomly weighted people."""
        floor = np.quantile(comparisons.similarity, 1 - 4 * TAIL)
        rows = np.flatnonzero(comparisons.similarity > floor)
        rows = rows[np.argsort(comparisons.similarity[rows])]
        highest = comparisons.similarity[rows].astype(np.float64)
        one, other = comparisons.one[rows], comparisons.other[rows]
        people = int(max(comparisons.one.max(), comparisons.other.max())) + 1
        pairs = comparisons.one.astype(np.int64) * people + comparisons.other
        count = np.bincount(pairs, minlength=people**2).reshape(people, people)
        for _ in range(RESAMPLES):
            weight = rng.exponential(size=people)
            total = float(weight @ count @ weight)  # of all comparisons
            start, scale, shape = _fit_weighted(highest, weight[one] * weight[other], total)
            yield replace(self, start=start, scale=scale, shape=shape)

    def similarity(self, rate: float) -> float:
        """The similarity that a comparison of different people exceeds at ``rate`` <= `TAIL`."""
        ratio = rate / TAIL
        if abs(self.shape) < 1e-6:
            return self.start - self.scale * float(np.log(ratio))
        return self.start + self.scale / self.shape * (float(ratio**-self.shape) - 1)

    def rate(self, similarity: float) -> float:
        """The rate at which comparisons of different people exceed ``similarity`` >= `start`."""
        above = (similarity - self.start) / self.scale
        if abs(self.shape) < 1e-6:
            return TAIL * float(np.exp(-above))
        return TAIL * float(max(1 + self.shape * above, 0.0) ** (-1 / self.shape))


@dataclass(frozen=True, slots=True)
class Calibration:
    """A tail and the requested rate.

    Attributes:
        fpir: Fraction of looks at strangers that may exceed the threshold with anybody.
    """

    tail: Tail
    fpir: float

    def threshold(self, people: int) -> float:
        """The similarity a name needs in a gallery of that many people."""
        each = 1 - (1 - self.fpir) ** (1 / max(people, 1))
        return self.tail.similarity(min(each, TAIL)) if each < TAIL else self.tail.start

    def estimate_fpir(self, threshold: float, people: int) -> float:
        """The rate at another threshold."""
        return 1 - (1 - min(self.tail.rate(max(threshold, self.tail.start)), 1.0)) ** people

    def values(self) -> dict[str, float]:
        """As a gallery stores it; the keys are stored, too."""
        return {"fpir": self.fpir, **asdict(self.tail)}

    @classmethod
    def from_values(cls, values: Mapping[str, float]) -> Self:
        """Undo `values`."""
        tail = Tail(values["start"], values["scale"], values["shape"], int(values["comparisons"]))
        return cls(tail, values["fpir"])


def _fit_weighted(rising: F64, weight: F64, total: float) -> tuple[float, float, float]:
    """Start, scale and shape as in `Tail.fit`, of similarities in rising order and their weights.

    ``total`` is the weight of all comparisons, the lower ones included.
    """
    above = np.cumsum(weight[::-1])[::-1]  # weight from here up
    first = int(np.count_nonzero(above > TAIL * total))
    first = min(max(first, 1), len(rising) - 2)
    start = float(rising[first - 1])
    excess, share = rising[first:] - start, weight[first:] / weight[first:].sum()
    survive = np.cumsum(share[::-1])[::-1] - share / 2
    mean, weighted = float(share @ excess), float((share * survive) @ excess)
    return start, 2 * mean * weighted / (mean - 2 * weighted), 2 - mean / (mean - 2 * weighted)


def compare_strangers(index: Index, strangers: Sequence[F32]) -> Comparisons:
    """Compare all different people with each other.

    Args:
        index: The gallery.
        strangers: ``(T, D)`` float32 of unit length for each person who is not in it.

    Returns:
        One similarity per template and other enrolled person (that of the nearest template, as in
        a search), and one per picture and picture of another stranger. The gallery's people come
        first.
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
