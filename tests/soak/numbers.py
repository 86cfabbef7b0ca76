"""What became of each message, by its number: it came, was said to be lost, or was replayed."""

from __future__ import annotations

from dataclasses import dataclass

RECEIVED, LOST, REPLAYED = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the messages of a topic.

    Attributes:
        sent: How many there were.
        received: By the subscriber.
        lost: That the subscriber was told of.
        replayed: From the stream.
        unaccounted: Of which nobody knows.
        untrue: That were said to be lost and came.
        unstored: That the stream does not have.
    """

    topic: str
    sent: int
    received: int
    lost: int
    replayed: int
    unaccounted: int
    untrue: int
    unstored: int


class Numbers:
    """Notes numbers of messages, by start of the node and topic."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], bytearray] = {}

    def note(self, boot: str, topic: str, first: int, fate: int, end: int = 0) -> None:
        """Note what became of one number, or of all from ``first`` to before ``end``."""
        fates = self._known.setdefault((boot, topic), bytearray())
        end = end or first + 1
        fates.extend(bytes(max(0, end - 1 - len(fates))))
        for number in range(first, end):
            fates[number - 1] |= fate

    def claim(self, boot: str, topic: str, last: int) -> None:
        """Know that all numbers up to this one were sent."""
        self.note(boot, topic, last, 0) if last else None

    def account(self) -> list[Account]:
        """What became of all of them, topic by topic."""
        return [_count(topic, fates) for (_, topic), fates in sorted(self._known.items())]


def _count(topic: str, fates: bytearray) -> Account:
    counts = [fates.count(fate) for fate in range(8)]

    def having(fate: int) -> int:
        return sum(count for known, count in enumerate(counts) if known & fate == fate)

    replayed = having(REPLAYED)
    return Account(
        topic, len(fates), having(RECEIVED), having(LOST), replayed, counts[0],
        having(RECEIVED | LOST), len(fates) - replayed,
    )  # fmt: skip
