"""The outcome of a run: all that was measured, and which promises it keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.soak.conservation import Kept
from tests.soak.director import Done
from tests.soak.numbers import Account
from tests.soak.trend import Trend, fit_line
from tests.soak.usage import Usage, pick_lowest

SETTLED_S = 600.0  # from then on nothing may grow: everything has happened once
MEASURED = ("anonymous_bytes", "resident_bytes", "proportional_bytes", "threads", "files")


@dataclass(frozen=True)
class Outcome:
    """A run.

    Attributes:
        planned_s: How long it was to be.
        lasted_s: How long it was.
        trends: Of what the node used, an hour, since everything had settled; None if too short.
        exit_status: Of the node.
        stopped_s: How long it took to stop.
        leaks: Places where the password stands.
        repeated: Messages that the stream has more than once.
        lines: Warnings and errors of the log, and how often they stand there.
        end: Why it is over.
    """

    seed: int
    planned_s: float
    lasted_s: float
    usages: Sequence[Usage]
    trends: Mapping[str, Trend | None]
    done: Sequence[Done]
    accounts: Sequence[Account]
    kept: Kept
    exit_status: int
    stopped_s: float
    leaks: int
    repeated: int
    lines: Mapping[str, int]
    end: str

    @property
    def is_whole(self) -> bool:
        """Whether it went on to its end."""
        return not self.end


def fit_trends(usages: Sequence[Usage]) -> dict[str, Trend | None]:
    """Lines through the lowest of each minute."""
    return {name: fit_line(list(pick_lowest(list(usages), SETTLED_S, name))) for name in MEASURED}


def judge(outcome: Outcome, keep: Callable[[str, float], None]) -> None:
    """Hold what was measured against the promises; ``keep`` takes a promise and a figure."""
    memory, threads, files = (
        outcome.trends[name] for name in ("anonymous_bytes", "threads", "files")
    )
    if memory and threads and files:
        keep("soak memory", memory.slope / 1e6)
        keep("soak threads", threads.slope)
        keep("soak files", files.slope)
    wrong = sum(account.unaccounted + account.untrue for account in outcome.accounts)
    keep("soak numbers", wrong if outcome.accounts else math.inf)
    keep("soak stream", sum(account.unstored for account in outcome.accounts))
    keep("soak kept", outcome.kept.problems)
    keep("soak secrets", outcome.leaks)
    keep("soak stop", math.inf if outcome.exit_status else outcome.stopped_s)
