"""The output check: what a model cannot mean is dropped, counted, and in the long run reported."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from edge.compat import StrEnum
from edge.manifest import Manifest
from edge.types import F32, Bool, Letterbox

log = logging.getLogger(__name__)

BROKEN_AFTER = 10  # bad batches in a row, of those that found anything: a second at 10 fps
WELL_AFTER = 30  # batches in a row that are not bad
MAX_SIDES = 4  # a corner may lie this many network sides outside, as one of a cut object does
ROUNDING = 1e-3  # of scores, by arithmetic in 16 bits


class RefusalReason(StrEnum):
    """Why a row of a model is no finding."""

    NOT_FINITE = "not_finite"
    SCORE = "score"
    UNKNOWN_CLASS = "unknown_class"
    NO_AREA = "no_area"
    OUTSIDE = "outside"
    LENGTH = "length"


Refusals = Counter[RefusalReason]


class OutputCheck:
    """Counts a model's refused rows; a model that gives hardly any others is broken.

    A batch is bad when at least half of its rows are refused. Batches without rows say nothing
    against a model, but help one that was broken.

    Args:
        model: Its task and name, for messages.

    Attributes:
        problem: Why the model is broken; empty while it works.
        on_refused: Called with each reason and how many rows it refused.
        on_change: Called with the new `problem`.
    """

    def __init__(self, model: str) -> None:
        self.problem = ""
        self.on_refused: Callable[[RefusalReason, int], None] = lambda _reason, _count: None
        self.on_change: Callable[[str], None] = lambda _problem: None
        self._model = model
        self._bad = self._good = 0  # batches in a row
        self._lock = threading.Lock()

    def silence(self) -> None:
        """Tell nobody any more, since the model was replaced."""
        self.on_refused = lambda _reason, _count: None
        self.on_change = lambda _problem: None

    def record(self, refused: Mapping[RefusalReason, int], accepted: int) -> None:
        """Take one batch into account; threads may call it at once."""
        if not refused and not self._bad and not self.problem:
            return  # as nearly always
        with self._lock:
            for reason, count in refused.items():
                self.on_refused(reason, count)
            if refused and sum(refused.values()) >= accepted:
                self._good, self._bad = 0, self._bad + 1
            else:
                self._good += 1
                self._bad = 0 if accepted else self._bad
            self._judge(refused)

    def record_rows(self, good: Bool, finite: Bool, reason: RefusalReason) -> None:
        """Take a batch into account: ``(N,)`` rows that may be true, and those without NaN.

        A finite row that is not good is refused for the ``reason``.
        """
        refused = Refusals()
        if not good.all():
            refused[RefusalReason.NOT_FINITE] = int(np.count_nonzero(~good & ~finite))
            refused[reason] = int(np.count_nonzero(~good & finite))
        self.record(+refused, int(np.count_nonzero(good)))

    def _judge(self, refused: Mapping[RefusalReason, int]) -> None:
        if not self.problem and self._bad >= BROKEN_AFTER:
            reasons = ", ".join(f"{reason} {count}" for reason, count in refused.items())
            self.problem = (
                f"most rows of {BROKEN_AFTER} batches in a row were refused (the last: {reasons}): "
                "use another model, or export this one again"
            )
            log.error("%s is broken: %s", self._model, self.problem)
        elif self.problem and self._good >= WELL_AFTER:
            self.problem, self._bad = "", 0
            log.info("%s works again", self._model)
        else:
            return
        self.on_change(self.problem)


class RowCheck:
    """Checks rows ``x1 y1 x2 y2 score class`` of one kind of network.

    Args:
        manifest: A detector's classes bound the class ids; a face detector's are not looked at.
    """

    def __init__(self, manifest: Manifest) -> None:
        reach = MAX_SIDES * max(manifest.input_wh)
        largest = np.finfo(np.float32).max
        ids = (0, len(manifest.classes) - 1) if manifest.task == "detect" else (-largest, largest)
        self._low = np.array([-reach] * 4 + [0, ids[0]], np.float32)
        self._high = np.array([reach] * 4 + [1 + ROUNDING, ids[1]], np.float32)

    def select(self, rows: F32, refused: Refusals) -> Bool:
        """``(N, 6)`` used rows -> ``(N,)`` those that may be true; the others are counted."""
        inside = (rows >= self._low) & (rows <= self._high)  # NaN is not
        inside[:, 5] &= np.rint(rows[:, 5]) == rows[:, 5]
        area = rows[:, 2:4] > rows[:, :2]
        good: Bool = np.asarray(inside.all(axis=1) & area.all(axis=1))
        if not good.all():
            self._explain(rows[~good], inside[~good], refused)
        return good

    def _explain(self, rows: F32, inside: Bool, refused: Refusals) -> None:
        """Count each refused row under the first reason against it."""
        todo = np.ones(len(rows), np.bool_)
        for reason, against in (
            (RefusalReason.NOT_FINITE, ~np.isfinite(rows).all(axis=1)),
            (RefusalReason.SCORE, ~inside[:, 4]),
            (RefusalReason.UNKNOWN_CLASS, ~inside[:, 5]),
            (RefusalReason.NO_AREA, (rows[:, 2:4] <= rows[:, :2]).any(axis=1)),
            (RefusalReason.OUTSIDE, todo),
        ):
            if count := int((against & todo).sum()):
                refused[reason] += count
            todo &= ~against


def to_picture(rows: F32, letterbox: Letterbox, refused: Refusals) -> tuple[F32, Bool]:
    """Boxes ``(N, 4)`` in source pixels, clipped, and ``(N,)`` those that have a part in it."""
    xyxy = letterbox.to_source(rows[:, :4])
    seen: Bool = np.asarray((xyxy[:, 2:] > xyxy[:, :2]).all(axis=1))
    if outside := len(seen) - int(np.count_nonzero(seen)):
        refused[RefusalReason.OUTSIDE] += outside
    return xyxy, seen
