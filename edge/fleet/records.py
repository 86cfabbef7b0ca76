"""What the hub wants of a box, and what the box says of it."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

import msgspec

SILENT_S: Final = 90.0  # a box reports every half minute
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError)
State = Literal["ready", "not ready", "away"]


class Desired(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What a box is to run.

    Attributes:
        text: The configuration of its node, TOML.
        by: Who wants it.
        at_s: Since when, Unix time.
        version: Of Edgewatch; empty is whichever the box has.
        box: Whom it is for: a server can be made to answer with what is another box's.
    """

    text: str
    by: str
    at_s: float
    version: str = ""
    box: str = ""


class Outcome(str, Enum):
    """What became of a revision.

    Attributes:
        TRYING: It is written, and not known to work yet.
        APPLIED: The node runs with it.
        REFUSED: It has mistakes or cannot work on the box: nothing was written.
        ROLLED_BACK: The node did not become ready with it: the one before is back.
    """

    TRYING = "trying"
    APPLIED = "applied"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"


class PeopleReceipt(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """How far a box is with the people of the hub.

    Attributes:
        number: Of what it was told last and has done; 0 for nothing.
        problem: Why it does not know or name all of them, or confirms nothing.
        proof: That the box says so, and not somebody else, as hexadecimal digits.
    """

    number: int = 0
    problem: str = ""
    proof: str = ""


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What a box says, after each change and every half minute.

    Attributes:
        box: Its name.
        version: Of Edgewatch.
        revision: Of what it was told last; 0 before the first one.
        outcome: What became of that.
        problem: Why it was not applied, or what is wrong with it nevertheless.
        is_ready: Whether the node is.
        at_s: Unix time of the report.
        people: What it has of the hub's people.
    """

    box: str
    version: str
    revision: int
    outcome: Outcome | None
    problem: str
    is_ready: bool
    at_s: float
    people: PeopleReceipt = PeopleReceipt()

    def judge(self, now_s: float) -> State:
        """Whether the box is well at ``now_s``, as far as it has said."""
        if now_s - self.at_s > SILENT_S:
            return "away"
        return "ready" if self.is_ready else "not ready"
