"""How well attacks are told from the living: the figures of ISO/IEC 30107-3.

APCER is the share of one kind's attacks taken for alive, BPCER the share of the living taken for
attacks, ACER the mean of BPCER and the *worst* kind's APCER. Bounds are Wilson's 95 % intervals;
they count clips (or tracks) as independent, which pictures of one track are not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge.types import F32

LIVE = "live"
_Z = 1.959964  # 95 %
_SURE = 0.99  # as the daemon: a network that is surer is not believed more


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % bounds.

    Attributes:
        value: in 0..1.
        low: bound.
        high: bound.
        n: of which it is a share.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """As in a card."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def wilson(wrong: int, n: int) -> Rate:
    """A share with Wilson's score interval (1927); NaN where nothing was counted."""
    if not n:
        return Rate(math.nan, 0.0, 1.0, 0)
    share, z2 = wrong / n, _Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Rate(share, max(0.0, middle - half), min(1.0, middle + half), n)


def average_rates(one: Rate, other: Rate) -> Rate:
    """The mean of two independent shares; bounds by squares of the sides (Newcombe 1998)."""
    value = (one.value + other.value) / 2
    low = value - math.hypot(one.value - one.low, other.value - other.low) / 2
    high = value + math.hypot(one.high - one.value, other.high - other.value) / 2
    return Rate(value, max(0.0, low), min(1.0, high), min(one.n, other.n))


@dataclass(frozen=True, slots=True)
class PadMetrics:
    """All figures at one threshold.

    Attributes:
        apcer: by kind of attack.
        bpcer: of the living.
    """

    apcer: Mapping[str, Rate]
    bpcer: Rate

    @property
    def worst(self) -> str:
        """The kind that gets through most often."""
        return max(self.apcer, key=lambda kind: self.apcer[kind].value)

    @property
    def acer(self) -> Rate:
        """By the worst kind."""
        return average_rates(self.apcer[self.worst], self.bpcer)


def compute_pad_metrics(score: F32, kind: Sequence[str], threshold: float = 0.5) -> PadMetrics:
    """Figures of scores ``(N,)``: alive from ``threshold`` on. A NaN counts as an attack.

    Raises:
        ValueError: no living, or no attack.
    """
    kinds = np.array(kind)
    if len(score) != len(kinds) or not (kinds == LIVE).any() or (kinds == LIVE).all():
        raise ValueError("needs scores of living clips and of attacks, one kind each")
    passed = score >= threshold  # (N,)
    apcer = {
        name: wilson(int(passed[kinds == name].sum()), int((kinds == name).sum()))
        for name in dict.fromkeys(kind)
        if name != LIVE
    }
    living = kinds == LIVE
    return PadMetrics(apcer, wilson(int((~passed[living]).sum()), int(living.sum())))


def fuse_tracks(score: F32, track: Sequence[str]) -> tuple[F32, list[str]]:
    """One score a track, the mean of the log-odds as the daemon takes it; and their names."""
    bounded = np.clip(score, 1 - _SURE, _SURE)
    odds = np.log(bounded / (1 - bounded))
    names = list(dict.fromkeys(track))
    rows = np.array(track)
    means = np.array([odds[rows == name].mean() for name in names])
    return (1 / (1 + np.exp(-means))).astype(np.float32), names
