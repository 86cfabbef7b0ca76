"""A rollout: boxes in waves, each after the one before has come to run with what is wanted."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edge.errors import ConfigError
from edge.fleet.records import Desired, Outcome, Report
from edge.fleet.store import FleetStore
from edge.printable import escape_controls

POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Rollout:
    """What came of it.

    Attributes:
        applied: Boxes that run with it.
        failed: Why each of the others of a wave does not.
        untouched: Boxes whose wave did not come.
    """

    applied: tuple[str, ...]
    failed: Mapping[str, str]
    untouched: tuple[str, ...]


def split_waves(boxes: Sequence[str], waves: str) -> list[list[str]]:
    """Boxes in waves.

    Args:
        boxes: All of them, in order.
        waves: How many there are at the end of each, as numbers or percentages, such as
            `1,5%,100%`; the last takes the rest.

    Raises:
        ConfigError: That cannot be read, or does not grow.
    """
    ends, numbers = [0], {True: 0.0, False: 0.0}
    for word in waves.split(","):
        is_percent = word.strip().endswith("%")
        try:
            number = float(word.strip().removesuffix("%"))
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            raise ConfigError(f"{word!r} is no wave: use 1,5%,100%", key="--waves")
        if number <= numbers[is_percent]:
            raise ConfigError("each wave must take more than the one before", key="--waves")
        numbers[is_percent] = number
        share = number / 100 * len(boxes) if is_percent else number
        ends.append(min(max(ends[-1], math.ceil(share)), len(boxes)))
    ends[-1] = len(boxes)
    return [list(boxes[a:b]) for a, b in itertools.pairwise(ends) if b > a]


async def roll_out(
    store: FleetStore,
    wanted: Mapping[str, Desired],
    waves: Sequence[Sequence[str]],
    timeout_s: float,
    tell: Callable[[str], None],
) -> Rollout:
    """Want something of boxes, wave by wave; the first wave that fails is the last one.

    Args:
        store: Where it is told.
        wanted: What each box is to run.
        waves: The boxes.
        timeout_s: How long a wave may take.
        tell: Told what happens.
    """
    applied: list[str] = []
    failed: dict[str, str] = {}
    for number, boxes in enumerate(waves):
        tell(f"wave {number + 1} of {len(waves)}: {', '.join(boxes)}")
        known = await store.list_reports()
        for box in boxes:
            if box not in known:
                tell(f"{box}: has never reported: check its name, or let it join within the wait")
        revisions = {box: await store.want(box, wanted[box]) for box in boxes}
        failed = await _await_all(store, revisions, timeout_s)
        applied += [box for box in boxes if box not in failed]
        for box, why in failed.items():
            tell(escape_controls(f"{box}: {why}"))
        if failed:
            rest = tuple(box for wave in waves[number + 1 :] for box in wave)
            return Rollout(tuple(applied), failed, rest)
    return Rollout(tuple(applied), failed, ())


async def _await_all(
    store: FleetStore, revisions: Mapping[str, int], timeout_s: float
) -> dict[str, str]:
    """Why boxes do not run with their revisions, by box; empty once all do."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        reports = await store.list_reports()
        states = {box: _judge(reports.get(box), number) for box, number in revisions.items()}
        if all(why is not None for why in states.values()) or time.monotonic() > deadline_s:
            silent = f"said nothing for {timeout_s:g} s: it takes this when it is back"
            return {box: silent if why is None else why for box, why in states.items() if why != ""}
        await asyncio.sleep(POLL_S)


def _judge(report: Report | None, number: int) -> str | None:
    """Why a box does not run with a revision; nothing if it does, None while nobody knows."""
    if report is None or report.revision < number or report.outcome is Outcome.TRYING:
        return None
    if report.revision > number:
        return "somebody has told it something else meanwhile"
    if report.outcome is Outcome.APPLIED:
        return "" if report.is_ready else None
    return f"{(report.outcome or Outcome.REFUSED).value.replace('_', ' ')}: {report.problem}"
