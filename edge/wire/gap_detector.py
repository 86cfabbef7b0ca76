"""The gap detector: finds lost messages by their sequence numbers.

Numbers count from 1 per boot and topic. A subscriber that joins late has lost nothing: counting
begins with the snapshot that it receives when it joins. A loss at the end of a topic shows when a
heartbeat claims a number that has not arrived by the next heartbeat, since a claim may overtake the
message it is about; a snapshot never does. A new boot is a restart: of it a subscriber that was
there before has lost whatever does not arrive, and of the old one whatever its last heartbeat
claimed. What a boot sent after its last heartbeat nobody can know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_BOOTS: Final = 16


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that were lost.

    Attributes:
        expected: The first number that did not arrive.
        got: The number that came instead; after a heartbeat, the number expected next.
        missed: The number of lost messages.
    """

    topic: str
    expected: int
    got: int
    missed: int


@dataclass(frozen=True, slots=True)
class Restarted:
    """A node restarted: all its numbers count from 1 again.

    Attributes:
        before: The previous boot id.
        boot: The new boot id.
    """

    node: str
    before: str
    boot: str


@dataclass(slots=True)
class _Boot:
    """One run of a daemon.

    Attributes:
        last: The last number per topic.
        claimed: What its last heartbeat claimed.
        whole: Whether a topic that was not heard of yet begins with number 1.
    """

    last: dict[str, int] = field(default_factory=dict)
    claimed: dict[str, int] | None = None
    whole: bool = False


class GapDetector:
    """Follows the sequence numbers that one subscriber receives. Not thread-safe."""

    def __init__(self) -> None:
        self._boots: dict[tuple[str, str], _Boot] = {}
        self._current: dict[str, str] = {}  # node -> boot

    def check_boot(self, node: str, boot: str) -> Restarted | None:
        """Take a boot id into account; a `Restarted` when the node has a new one."""
        if self._current.get(node) == boot:
            return None
        if (node, boot) in self._boots:  # two daemons with one name alternate
            self._current[node] = boot
            return None
        before = self._current.get(node)
        self._current[node] = boot
        self._boots[node, boot] = _Boot(whole=before is not None)
        if len(self._boots) > MAX_BOOTS:
            del self._boots[next(iter(self._boots))]
        return Restarted(node, before, boot) if before is not None else None

    def check_message(self, node: str, boot: str, topic: str, seq: int) -> tuple[Gap | None, bool]:
        """Take a message into account: the gap before it, and whether it is a repetition."""
        run = self._boot(node, boot)
        last = run.last
        known = last.get(topic, 0 if run.whole else None)
        if known is not None and seq <= known:
            return None, True
        last[topic] = seq
        if known is None or seq == known + 1:
            return None, False
        return Gap(topic, known + 1, seq, seq - known - 1), False

    def check_heartbeat(self, node: str, boot: str, last_seq: Mapping[str, int]) -> list[Gap]:
        """Take a heartbeat into account: gaps at the end of topics since the one before.

        ``last_seq`` holds the last numbers of the topics that are subscribed to.
        """
        run = self._boot(node, boot)
        gaps = []
        for topic, seq in (run.claimed or {}).items():
            last = run.last.setdefault(topic, seq)  # never received: from before we joined
            if last < seq:
                gaps.append(Gap(topic, last + 1, seq + 1, seq - last))
                run.last[topic] = seq
        run.whole = run.whole or run.claimed is not None
        for topic in last_seq if run.whole else ():
            run.last.setdefault(topic, 0)  # it began since we joined
        run.claimed = dict(last_seq)
        return gaps

    def check_snapshot(self, node: str, boot: str, last_seq: Mapping[str, int]) -> list[Gap]:
        """Take into account what was sent so far: messages after it have higher numbers."""
        run = self._boot(node, boot)
        gaps = []
        for topic, seq in last_seq.items():
            last = run.last.get(topic, 0 if run.whole else seq)
            run.last[topic] = max(last, seq)
            if last < seq:
                gaps.append(Gap(topic, last + 1, seq + 1, seq - last))
        run.whole = True
        return gaps

    def finish_boot(self, node: str, boot: str) -> list[Gap]:
        """Gaps at the end of a boot that is over."""
        return self.check_heartbeat(node, boot, {})

    def _boot(self, node: str, boot: str) -> _Boot:
        return self._boots.setdefault((node, boot), _Boot())
