"""The ledger: which sequence numbers arrived, and so what was lost.

Numbers count from 1 per boot and topic. Who joins late has lost nothing; a new boot is a
restart, not a loss. A loss at the end of a topic shows when a heartbeat claims a number that
has not arrived by the next heartbeat: a claim may overtake the message it is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MOST_BOOTS: Final = 16


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that were lost.

    Attributes:
        topic: whose.
        expected: first number that did not arrive.
        got: the number that came instead, or is expected next when a heartbeat told.
        missed: how many.
    """

    topic: str
    expected: int
    got: int
    missed: int


@dataclass(frozen=True, slots=True)
class Restarted:
    """A node began anew: all its numbers count from 1 again.

    Attributes:
        node: its name.
        before: the boot that was known.
        boot: the new one.
    """

    node: str
    before: str
    boot: str


@dataclass(slots=True)
class _Boot:
    """One life of a daemon: last number per topic, and what its last heartbeat claimed."""

    last: dict[str, int] = field(default_factory=dict)
    claimed: dict[str, int] | None = None


class GapDetector:
    """Books the numbers of one subscriber. Not thread-safe."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._boots: dict[tuple[str, str], _Boot] = {}
        self._current: dict[str, str] = {}  # node -> boot

    def restart(self, node: str, boot: str) -> Restarted | None:
        """Note who is talking; tells when the node has begun a life never seen before."""
        if self._current.get(node) == boot:
            return None
        if (node, boot) in self._boots:  # two daemons under one name take turns
            self._current[node] = boot
            return None
        before = self._current.get(node)
        self._current[node] = boot
        self._boots[node, boot] = _Boot()
        if len(self._boots) > MOST_BOOTS:
            del self._boots[next(iter(self._boots))]
        return Restarted(node, before, boot) if before is not None else None

    def arrived(self, node: str, boot: str, topic: str, seq: int) -> tuple[Gap | None, bool]:
        """Book a message: the gap before it, and whether it or a later one came already."""
        last = self._boot(node, boot).last
        known = last.get(topic)
        if known is not None and seq <= known:
            return None, True
        last[topic] = seq
        if known is None or seq == known + 1:
            return None, False
        return Gap(topic, known + 1, seq, seq - known - 1), False

    def claimed(self, node: str, boot: str, last_seq: Mapping[str, int]) -> list[Gap]:
        """Book a heartbeat: gaps at the end of topics that the heartbeat before it claimed.

        Args:
            node: whose heartbeat.
            boot: in which life.
            last_seq: last number of the topics that are subscribed to.
        """
        life = self._boot(node, boot)
        gaps = []
        for topic, seq in (life.claimed or {}).items():
            known = life.last.setdefault(topic, seq)  # never heard of: before we joined
            if known < seq:
                gaps.append(Gap(topic, known + 1, seq + 1, seq - known))
                life.last[topic] = seq
        if life.claimed is not None:
            for topic in last_seq.keys() - life.claimed.keys():  # began since we joined
                life.last.setdefault(topic, 0)
        life.claimed = dict(last_seq)
        return gaps

    def _boot(self, node: str, boot: str) -> _Boot:
        return self._boots.setdefault((node, boot), _Boot())
