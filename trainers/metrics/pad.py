"""Metrics of presentation attack detection (PAD), ISO/IEC 30107-3.

APCER is the fraction of attacks of one kind that pass as live, BPCER the fraction of live
presentations taken for attacks, ACER the mean of BPCER and the APCER of the *worst* kind. Bounds
are 95 % intervals: by a bootstrap that draws people where these are known, for what shows one
person is not independent; otherwise Wilson's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.types import F32, Bool
from trainers.metrics.interval import Interval

LIVE = "live"
_Z = 1.959964  # 95 %
_MAX_SCORE = 0.99  # as in the daemon: more extreme scores count no more


def wilson(wrong: int, n: int) -> Interval:
    """A rate with Wilson's score interval (1927); NaN for n = 0."""
    if not n:
        return Interval(math.nan, 0.0, 1.0, 0)
    share, z2 = wrong / n, _Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), n)


def bootstrap_rate(wrong: Bool, person: Sequence[str], draws: int = 2000) -> Interval:
    """The share of ``wrong`` ``(N,)``, with bounds by drawing people with replacement.

    Where no person has an error, or each only errors, the bounds are Wilson's for as many people.
    """
    names, of = np.unique(np.array(person), return_inverse=True)
    errors = np.bincount(of, wrong, len(names))  # (P,)
    total = np.bincount(of, minlength=len(names))
    share = float(errors.sum() / total.sum())
    if share in (0, 1):
        return replace(wilson(round(share * len(names)), len(names)), n=len(wrong))
    chosen = np.random.default_rng(0).multinomial(len(names), [1 / len(names)] * len(names), draws)
    rates = (chosen @ errors) / np.maximum(chosen @ total, 1)
    low, high = np.quantile(rates, [0.025, 0.975])
    return Interval(share, float(low), float(high), len(wrong))


def find_threshold(score: F32, kind: Sequence[str], bpcer: float) -> float:
    """The highest threshold at which at most this share of the live scores lies below it."""
    live = np.sort(score[np.array(kind) == LIVE])
    return float(live[min(int(bpcer * len(live) + 1e-9), len(live) - 1)])


def average_rates(one: Interval, other: Interval) -> Interval:
    """The mean of two independent rates; bounds by squared distances (Newcombe 1998)."""
    value = (one.value + other.value) / 2
    low = value - math.hypot(one.value - one.low, other.value - other.low) / 2
    high = value + math.hypot(one.high - one.value, other.high - other.value) / 2
    return Interval(value, max(0.0, low), min(1.0, high), min(one.n, other.n))


@dataclass(frozen=True, slots=True)
class PadMetrics:
    """PAD metrics at one threshold; APCER by kind of attack."""

    apcer: Mapping[str, Interval]
    bpcer: Interval

    @property
    def worst(self) -> str:
        """The kind of attack with the highest APCER."""
        return max(self.apcer, key=lambda kind: self.apcer[kind].value)

    @property
    def acer(self) -> Interval:
        """ACER of the worst kind."""
        return average_rates(self.apcer[self.worst], self.bpcer)


def compute_pad_metrics(
    score: F32, kind: Sequence[str], threshold: float = 0.5, person: Sequence[str] = ()
) -> PadMetrics:
    """PAD metrics of scores ``(N,)``: live from ``threshold`` on. NaN counts as an attack.

    ``person`` names whom each presentation shows, for bounds by a bootstrap.

    Raises:
        ValueError: All presentations are live, or all are attacks.
    """
    kinds = np.array(kind)
    if len(score) != len(kinds) or not (kinds == LIVE).any() or (kinds == LIVE).all():
        raise ValueError("expected scores of live clips and of attacks, and one kind per score")
    passed, people = score >= threshold, np.array(person)  # (N,)

    def rate(wrong: Bool, rows: Bool) -> Interval:
        if len(people):
            return bootstrap_rate(wrong[rows], people[rows].tolist())
        return wilson(int(wrong[rows].sum()), int(rows.sum()))

    apcer = {name: rate(passed, kinds == name) for name in dict.fromkeys(kind) if name != LIVE}
    return PadMetrics(apcer, rate(~passed, kinds == LIVE))


def fuse_tracks(score: F32, track: Sequence[str]) -> tuple[F32, list[str]]:
    """One score per track, by the mean log-odds as in the daemon; and the names of the tracks."""
    bounded = np.clip(score, 1 - _MAX_SCORE, _MAX_SCORE)
    odds = np.log(bounded / (1 - bounded))
    names = list(dict.fromkeys(track))
    rows = np.array(track)
    means = np.array([odds[rows == name].mean() for name in names])
    return (1 / (1 + np.exp(-means))).astype(np.float32), names
