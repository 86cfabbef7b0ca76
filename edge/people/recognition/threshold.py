"""Calibration: the similarity threshold at which strangers are rarely named.

The false-positive identification rate (FPIR) of a gallery of N people is the fraction of strangers'
tracks (the looks at a face, fused) that exceed the threshold with anybody in it. The data are
comparisons of different people: the highest hundredth of their similarities is described by a
generalized Pareto distribution (Pickands 1975), fitted by probability-weighted moments (Hosking and
Wallis 1987), so that rates below one over the number of comparisons can be estimated; N people are
N independent chances.

A tail fitted to a few dozen people is uncertain, and a threshold that is too low as often as too
high lets through more than requested, because the rate falls exponentially. So the people are
reweighted at random many times (Rubin's Bayesian bootstrap 1981), and the tail is made heavier
according to the spread of the thresholds; a third of it, because the weight of a comparison is a
product, which counts the chance in single comparisons three times (Owen 2007, the pigeonhole
bootstrap).

Measured by tests/benchmarks/calibration.py on ytf_dev, people enrolled from one video, calibrated
with tracks of other people (50; 25 for N = 200) and the gallery's own people: realized over
requested FPIR of tracks, mean of 40 random splits, for N = 10, 100, 200: with embed-nano 0.95 0.97
0.83 at 10 % and 0.88 0.75 0.78 at 1 %, with MobileFaceNet 0.93 0.92 0.82 and 0.80 0.99 1.13, the
last one 0.41 to 1.84 (faces by labeled points; with those of faces-nano and 10 splits 0.96 0.88
0.92 and 1.12 0.69 0.60). With the whole spread it was 0.40 to 0.68 at 1 %, without any 0.94 to
1.73; the third was chosen with these people in view.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge.compat import Self
from edge.errors import EdgeError
from edge.people.gallery.index import Index
from edge.types import F32, I32

F64 = NDArray[np.float64]

TAIL = 0.01  # fraction of the comparisons that is fitted
MIN_COMPARISONS = 2000  # with fewer the tail would be fitted to under twenty numbers
RESAMPLES = 60
RATES = 10.0 ** np.arange(-2.5, -6, -0.5)  # per comparison, at which thresholds are compared
MAX_ADDED_SHAPE = 0.6
PIGEONHOLE = 3  # how much too large the variance is of weights that are products


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
                f"{len(similarities)}: give photos of more people who are not enrolled "
                "(--strangers), at least 3 of each"
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
        raised = best + steep * np.var(samples, axis=0) / PIGEONHOLE / 2

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
        fpir: Fraction of strangers' tracks that may exceed the threshold with anybody.
        of_tracks: Measured with tracks; earlier versions measured with single pictures.
    """

    tail: Tail
    fpir: float
    of_tracks: bool = True

    def threshold(self, people: int) -> float:
        """The similarity a name needs in a gallery of that many people."""
        each = 1 - (1 - self.fpir) ** (1 / max(people, 1))
        return self.tail.similarity(min(each, TAIL)) if each < TAIL else self.tail.start

    def estimate_fpir(self, threshold: float, people: int) -> float:
        """The rate at another threshold."""
        return 1 - (1 - min(self.tail.rate(max(threshold, self.tail.start)), 1.0)) ** people

    def values(self) -> dict[str, float]:
        """As a gallery stores it; the keys are stored, too."""
        kind = {"tracks": 1.0} if self.of_tracks else {}  # earlier versions stored no kind
        return {"fpir": self.fpir, **asdict(self.tail), **kind}

    @classmethod
    def from_values(cls, values: Mapping[str, float]) -> Self:
        """Undo `values`."""
        tail = Tail(values["start"], values["scale"], values["shape"], int(values["comparisons"]))
        return cls(tail, values["fpir"], "tracks" in values)


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


def compare_tracks(index: Index, strangers: Sequence[F32]) -> Comparisons:
    """Compare all different people with each other.

    Args:
        index: The gallery.
        strangers: ``(T, D)`` float32 of unit length for each person who is not in it: fused
            looks, one row a track.

    Returns:
        One similarity per enrolled person and other enrolled person, per track and enrolled
        person, and per track and track of another stranger. The gallery's people come first.
    """
    people = [*index.fused[:, None], *strangers]
    owner = np.repeat(np.arange(len(people), dtype=np.int32), [len(rows) for rows in people])
    tracks = np.concatenate([index.fused, *strangers])
    parts = []
    for row, person in enumerate(owner.tolist()):
        later = int(np.searchsorted(owner, person, "right"))
        parts.append((np.einsum("td,d->t", tracks[later:], tracks[row]), owner[later:]))
    counts = [len(others) for _, others in parts]
    return Comparisons(
        np.concatenate([tracks[:0, 0], *(similarity for similarity, _ in parts)]),
        np.repeat(owner, counts),
        np.concatenate([owner[:0], *(others for _, others in parts)]),
    )
