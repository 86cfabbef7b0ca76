"""The director: lets acts begin and end in their time."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.soak.acts import End, Planned
from tests.soak.stage import Stage


@dataclass(frozen=True, slots=True)
class Done:
    """An act that was begun.

    Attributes:
        at_s: When, in seconds of the run.
    """

    at_s: float
    family: str
    name: str
    lasts_s: float


class Director:
    """Does what is planned.

    Args:
        clock: Seconds of the run.

    Attributes:
        done: What was begun.
    """

    def __init__(
        self, stage: Stage, planned: Iterator[Planned], clock: Callable[[], float]
    ) -> None:
        self.done: list[Done] = []
        self._stage, self._planned, self._clock = stage, planned, clock
        self._ends: list[tuple[float, int, End]] = []
        self._order = itertools.count()

    def run(self, until_s: float, over: threading.Event, check: Callable[[], None]) -> None:
        """Go on until a time, or until it is over, and end what has begun.

        Args:
            check: Called now and then; what it raises ends the run.
        """
        coming = next(self._planned)
        try:
            while not over.wait(0.2) and (now_s := self._clock()) < until_s:
                check()
                if self._ends and self._ends[0][0] <= now_s:
                    heapq.heappop(self._ends)[2]()
                elif coming.at_s <= now_s:
                    self._begin(coming, now_s)
                    coming = next(self._planned)
        finally:
            while self._ends:
                heapq.heappop(self._ends)[2]()

    def _begin(self, planned: Planned, now_s: float) -> None:
        act = planned.act
        self.done.append(Done(now_s, act.family, act.name, planned.lasts_s))
        end = act.begin(self._stage, random.Random(planned.seed))
        heapq.heappush(self._ends, (now_s + planned.lasts_s, next(self._order), end))
