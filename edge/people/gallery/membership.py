"""Membership: a gallery that follows a hub, and until when people may be named by it.

Both are sealed settings of the gallery. Who may be named is the hub's to say: it renews the lease
for as long as a box has everybody's consent right, and a box that stays away stops naming.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from edge.compat import UTC

SLACK_S = 300.0  # how far the clock of a box may be behind the hub's, or behind what it was


@dataclass(frozen=True, slots=True)
class Lease:
    """When people may be named.

    A clock that is set back makes it no longer: once it has ended, it has ended for good.

    Attributes:
        issued_s: When the hub gave it, Unix seconds; 0 for none yet.
        until_s: When it ends, Unix seconds.
        serial: It grows with each lease that the hub gives, whatever the hub's clock says.
        seen_s: The latest time that was seen under it, Unix seconds.
    """

    issued_s: float = 0.0
    until_s: float = 0.0
    serial: int = 0
    seen_s: float = 0.0

    @property
    def order(self) -> tuple[int, float]:
        """What is greater for a newer lease, and equal for the same one."""
        return self.serial, self.issued_s

    def see(self, now_s: float) -> Lease:
        """The same at ``now_s``."""
        return replace(self, seen_s=max(self.seen_s, now_s))

    def explain(self, now_s: float) -> str:
        """Why nobody may be named at ``now_s``; empty if people may be."""
        if not self.until_s:
            return "the hub has not allowed naming yet"
        if max(now_s, self.seen_s) >= self.until_s:
            end = _format(self.until_s)
            return f"what the hub allowed ended on {end}: people are named when it can be reached"
        if now_s < self.issued_s - SLACK_S:
            given = _format(self.issued_s)
            return f"the clock is wrong: the hub allowed naming on {given}, which is yet to come"
        if now_s < self.seen_s - SLACK_S:
            return f"the clock is wrong: it was set back from {_format(self.seen_s)}"
        return ""

    def find_span(self, now_s: float) -> tuple[float, float]:
        """From when until before when `explain` gives what it gives at ``now_s``."""
        if now_s >= self.until_s:
            return self.until_s, math.inf
        if self.seen_s >= self.until_s:
            return -math.inf, self.until_s
        edges = (-math.inf, self.issued_s - SLACK_S, self.seen_s - SLACK_S, self.until_s)
        before = [edge for edge in edges if edge <= now_s]
        after = [edge for edge in edges if edge > now_s]
        return max(before), min(after)


@dataclass(frozen=True, slots=True)
class Membership:
    """That a gallery follows a hub.

    Attributes:
        hub: Public key with which the hub signs, as hexadecimal digits.
        gallery: Id of the hub's gallery.
        box: Name of this box in the fleet.
        number: Of what the hub said last; it only grows.
        receipt_key: Proves to the hub that this box has it, as hexadecimal digits.
        problem: Why people are not those of the hub, but for those who were forgotten.
    """

    hub: str
    gallery: str
    box: str
    number: int
    receipt_key: str
    problem: str = ""
    lease: Lease = Lease()

    def renew(self, lease: Lease) -> Membership:
        """The same with another lease."""
        return replace(self, lease=lease)

    def encode(self) -> bytes:
        """For `parse`."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def parse(cls, content: bytes) -> Membership:
        """What `encode` gave."""
        fields = json.loads(content)
        return cls(**{**fields, "lease": Lease(**fields["lease"])})


def _format(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d at %H:%M UTC")
