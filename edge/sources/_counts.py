"""What became of the pictures of a connection that gave no capture, or a damaged one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Packets and pictures so far.

    Attributes:
        damaged: Those that could not be decoded, or not whole.
        undecoded: Those that were not to be decoded.
        late: Those that were passed over because the camera was late.
        passed: Those that came sooner than they were asked for.
    """

    damaged: int = 0
    undecoded: int = 0
    late: int = 0
    passed: int = 0

    def __sub__(self, earlier: Counts) -> Counts:
        """What has come since."""
        return Counts(
            self.damaged - earlier.damaged,
            self.undecoded - earlier.undecoded,
            self.late - earlier.late,
            self.passed - earlier.passed,
        )
