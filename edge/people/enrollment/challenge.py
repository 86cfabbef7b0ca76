"""The challenge: a living person before the camera does what is asked, and stays the same face.

A photograph cannot turn its head, a recording does not know the order. First the person looks
straight at the camera; then come a turn, a nod and a step closer in an order nobody knows before,
and between them the straight look again, in which the face is compared with the first one.
Each has its deadline. The wrong movement, another face, a lost one or one that does not live
ends it. All of it is arithmetic on observations: clock and chance come from outside.

Poses are measured from the five points relative to the straight look, so that a person's own face
and a camera above or below it do not matter. A plane that is tilted shrinks its points without
moving the nose between the eyes; points are noisy, though, so a turn or a nod must also change the
face as no flat picture can (`flatness.stir`).

Measured with faces-nano on four photographs: laid over a rough head and turned by 20 or 30 degrees
their pose moved by 10 to 27 and the stir was 0.19 to 0.42, nodding by 15 or 22 moved it by 3 to 14
and the stir was 0.14 to 0.33. Tilted as planes as far, they moved by 9 at most, the stir was 0.06.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

import numpy as np

from edge.people.liveness.planarity import stir
from edge.types import F32, Liveness


class Act(StrEnum):
    """What a person is asked to do; sides are the person's own."""

    STRAIGHT = "straight"
    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"
    CLOSER = "closer"


TURNS = (Act.LEFT, Act.RIGHT)
NODS = (Act.UP, Act.DOWN)


class Outcome(StrEnum):
    """How a challenge stands."""

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Rules:
    """What is asked for. Raising angles, ratios or `hold` makes it harder, raising times easier.

    Attributes:
        same: cosine from which on two straight looks show one person.
        alike: the same for a turned face.
        acts: how many, at least 3.
        turn_deg: of a turn.
        nod_deg: of a nod.
        stir: how else than a flat picture the face changes in a turn or a nod.
        approach: by how much the eyes' distance grows.
        straight_deg: a look within so much of the first one is straight.
        hold: observations in a row that something takes, failing included.
        begin_s: longest wait for the first straight look.
        act_s: longest time for each act, and for each straight look after it.
        gap_s: longest time without a face or without a picture.
    """

    same: float
    alike: float = 0.2
    acts: int = 3
    turn_deg: float = 13
    nod_deg: float = 5
    stir: float = 0.15
    approach: float = 1.25
    straight_deg: float = 9
    hold: int = 2
    begin_s: float = 30
    act_s: float = 8
    gap_s: float = 1.0

    def __post_init__(self) -> None:
        if self.acts < 3:
            raise ValueError(f"a challenge has at least 3 acts, got {self.acts}: ask for more")


# what was not asked for must be more than what was, for people and points are not precise
WRONG_SIDE = 1.5  # times as much, the other way
WRONG_TURN_DEG, WRONG_NOD_DEG, WRONG_APPROACH = 21, 16, 1.6
FIRST_LOOKS = 3  # that the first straight look takes
FACING_DEG = (30, 35)  # yaw and pitch at most of the first straight look: the camera may be above
STEADY_DEG = 8  # between the first looks


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What one picture shows.

    Attributes:
        at_s: monotonic seconds of the picture.
        track: of the face, -1 where there is none.
        rivals: other faces of about its size.
        yaw_deg: see `quality.Pose`.
        pitch_deg: see `quality.Pose`.
        frontal_px: distance of the eyes as seen from the front.
        poor: why the face is not good enough to be compared; empty when it is.
        flaw: why it is not good enough to be enrolled; empty when it is.
        quality: 0..1.
        embedding: ``(D,)`` of unit length where the face is good enough, else empty.
        sketch: of the face, see `flatness.sketch`.
        liveness: of the face so far.
        alive: why.
    """

    at_s: float
    track: int = -1
    rivals: int = 0
    yaw_deg: float = math.nan
    pitch_deg: float = math.nan
    frontal_px: float = math.nan
    poor: str = "no face"
    flaw: str = "no face"
    quality: float = 0.0
    embedding: F32 = field(default_factory=lambda: np.zeros(0, np.float32))
    sketch: F32 = field(default_factory=lambda: np.zeros((46, 46), np.float32))
    liveness: Liveness = Liveness.UNDECIDED
    alive: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How a challenge stands after an observation.

    Attributes:
        act: what is to be done now.
        left_s: until its deadline.
        within_s: what it has in all.
        done: acts that are done.
        of: acts there are.
        hint: what keeps it from being seen; empty when nothing does.
        outcome: running, passed or failed.
        reason: why it failed.
    """

    act: Act
    left_s: float
    within_s: float
    done: int
    of: int
    hint: str
    outcome: Outcome = Outcome.RUNNING
    reason: str = ""


def draw_acts(rng: Random, count: int) -> list[Act]:
    """A turn, a nod, a step closer and perhaps more turns and nods, in random order."""
    acts = [rng.choice(TURNS), rng.choice(NODS), Act.CLOSER]
    acts += [rng.choice(TURNS + NODS) for _ in range(count - len(acts))]
    rng.shuffle(acts)
    return acts


class Challenge:
    """One attempt.

    Args:
        rules: what is asked for.
        rng: draws the acts; of the system, unless in a test.
    """

    def __init__(self, rules: Rules, rng: Random) -> None:
        self._rules = rules
        self._acts = draw_acts(rng, rules.acts)
        self._stages = [
            Act.STRAIGHT,
            *(stage for act in self._acts for stage in (act, Act.STRAIGHT)),
        ]
        self._stage = 0
        self._deadline_s = math.nan
        self._seen_s = self._picture_s = math.nan
        self._first: list[Observation] = []
        self._before_px = math.nan  # distance of the eyes in the last straight look
        self._held = self._wrong = self._unlike = 0
        self._best: dict[int, Observation] = {}  # by stage
        self._failed = ""

    # --- what came out --------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """The first straight look is over: from here on it is an attempt."""
        return self._stage > 0

    @property
    def passed(self) -> bool:
        """All was done."""
        return self._stage == len(self._stages) and not self._failed

    @property
    def templates(self) -> F32:
        """``(T, D)``: the best look of each stage that is good enough to be enrolled."""
        return np.stack([look.embedding for _, look in sorted(self._best.items())])

    # --- going on -------------------------------------------------------------------------------

    def observe(self, seen: Observation) -> Progress:
        """Take one picture."""
        if self._failed or self.passed:
            return self._progress(seen, "")
        if math.isnan(self._deadline_s):
            self._deadline_s = seen.at_s + self._rules.begin_s
            self._seen_s = self._picture_s = seen.at_s
        self._failed = self._breach(seen)
        hint = ""
        if not self._failed:
            hint = self._begin(seen) if not self.begun else self._go_on(seen)
        self._picture_s = seen.at_s
        return self._progress(seen, hint)

    def _progress(self, seen: Observation, hint: str) -> Progress:
        act = Act.STRAIGHT if self.passed else self._stages[self._stage]
        done = self._stage // 2
        outcome = Outcome.RUNNING
        if self._failed:
            outcome = Outcome.FAILED
        elif self.passed:
            outcome = Outcome.PASSED
        left_s = max(0.0, self._deadline_s - seen.at_s)
        within_s = self._rules.act_s if self.begun else self._rules.begin_s
        return Progress(act, left_s, within_s, done, len(self._acts), hint, outcome, self._failed)

    def _breach(self, seen: Observation) -> str:
        """Why the attempt is over, whatever the face does; empty when it is not."""
        act = self._stages[self._stage]
        if not 0 <= seen.at_s - self._picture_s <= self._rules.gap_s:  # a NaN neither
            return "the camera stood still"
        if not seen.at_s <= self._deadline_s:
            last = self._stage == len(self._stages) - 1
            if last and seen.liveness is not Liveness.LIVE:
                return f"not surely alive: {seen.alive}"
            why = f" ({seen.poor or seen.flaw})" if not self.begun and seen.flaw else ""
            return f"too late: {act}{why}"
        if seen.liveness is Liveness.SPOOF:
            return seen.alive
        if not self.begun:
            return ""
        if seen.track >= 0:
            self._seen_s = seen.at_s
        if seen.at_s - self._seen_s > self._rules.gap_s:
            return "the face was lost"
        if seen.track >= 0 and seen.track != self._first[0].track:
            return "the face was lost, or another one took its place"
        return ""

    # --- the first straight look ----------------------------------------------------------------

    def _begin(self, seen: Observation) -> str:
        """Collect the looks with which all others are compared."""
        facing = abs(seen.yaw_deg) <= FACING_DEG[0] and abs(seen.pitch_deg) <= FACING_DEG[1]
        hint = _hint(seen, seen.flaw)
        if not hint and not facing:
            hint = "turned away"
        if hint or not self._continues(seen):
            self._first = []
            self._best.clear()  # who was looked at before may be somebody else
        if not hint:
            self._first.append(seen)
            self._keep(seen)
        if len(self._first) >= FIRST_LOOKS:
            self._advance(seen)
        return hint

    def _continues(self, seen: Observation) -> bool:
        return all(
            look.track == seen.track
            and abs(look.yaw_deg - seen.yaw_deg) <= STEADY_DEG
            and abs(look.pitch_deg - seen.pitch_deg) <= STEADY_DEG
            and float(look.embedding @ seen.embedding) >= self._rules.same
            for look in self._first
        )

    # --- the acts and the straight looks after them ---------------------------------------------

    def _go_on(self, seen: Observation) -> str:
        hint = _hint(seen, seen.poor)
        if hint:
            self._held = 0
            return hint
        asked, straight = self._stages[self._stage], self._off(seen) <= self._rules.straight_deg
        likeness = np.mean([look.embedding @ seen.embedding for look in self._first])
        like = bool(likeness >= (self._rules.same if straight else self._rules.alike))  # no NaN
        done = straight if asked is Act.STRAIGHT else self._does(asked, seen)
        wrong = set() if done or asked is Act.STRAIGHT else self._wrongs(asked, seen)
        self._unlike = 0 if like else self._unlike + 1
        self._wrong = self._wrong + 1 if wrong else 0
        self._held = self._held + 1 if done and like else 0
        if self._unlike >= self._rules.hold:
            self._failed = "another face took its place"
        elif self._wrong >= self._rules.hold:
            self._failed = f"{' and '.join(sorted(wrong))} instead of {asked}"
        elif like:
            self._keep(seen)
            if self._held >= self._rules.hold:
                return self._finish(seen)
        return ""

    def _finish(self, seen: Observation) -> str:
        """The stage is done; the last one only with a face that lives."""
        last = self._stage == len(self._stages) - 1
        if last and seen.liveness is not Liveness.LIVE:
            return seen.alive
        self._advance(seen)
        return ""

    def _advance(self, seen: Observation) -> None:
        if self._stages[self._stage] is Act.STRAIGHT:
            self._before_px = seen.frontal_px
        self._stage += 1
        self._held = self._wrong = 0
        self._deadline_s = seen.at_s + self._rules.act_s
        self._seen_s = seen.at_s

    def _keep(self, seen: Observation) -> None:
        best = self._best.get(self._stage)
        if not seen.flaw and (best is None or seen.quality > best.quality):
            self._best[self._stage] = seen

    # --- poses ----------------------------------------------------------------------------------

    def _turned(self, seen: Observation) -> tuple[float, float]:
        """Yaw and pitch since the first straight look, degrees."""
        yaw = seen.yaw_deg - float(np.mean([look.yaw_deg for look in self._first]))
        pitch = seen.pitch_deg - float(np.mean([look.pitch_deg for look in self._first]))
        return yaw, pitch

    def _off(self, seen: Observation) -> float:
        yaw, pitch = self._turned(seen)
        return max(abs(yaw), abs(pitch))

    def _does(self, asked: Act, seen: Observation) -> bool:
        """Whether a picture shows the act."""
        if asked is Act.CLOSER:
            return seen.frontal_px >= self._before_px * self._rules.approach
        yaw, pitch = self._turned(seen)
        turn, nod = self._rules.turn_deg, self._rules.nod_deg
        if asked not in _moves(yaw, pitch, turn, nod):
            return False
        return stir(self._first[-1].sketch, seen.sketch) >= self._rules.stir

    def _wrongs(self, asked: Act, seen: Observation) -> set[Act]:
        """What a picture shows clearly and nobody asked for."""
        yaw, pitch = self._turned(seen)
        turn = WRONG_SIDE * self._rules.turn_deg if asked in TURNS else WRONG_TURN_DEG
        nod = WRONG_SIDE * self._rules.nod_deg if asked in NODS else WRONG_NOD_DEG
        wrong = _moves(yaw, pitch, turn, nod) - {asked}
        if asked is not Act.CLOSER and seen.frontal_px >= self._before_px * WRONG_APPROACH:
            wrong.add(Act.CLOSER)
        return wrong


def _moves(yaw: float, pitch: float, turn: float, nod: float) -> set[Act]:
    """Turns and nods of so many degrees at least."""
    checks = {
        Act.LEFT: yaw >= turn,  # the person's left is at the right of the picture
        Act.RIGHT: yaw <= -turn,
        Act.UP: pitch >= nod,
        Act.DOWN: pitch <= -nod,
    }
    return {act for act, is_shown in checks.items() if is_shown}


def _hint(seen: Observation, flaw: str) -> str:
    if seen.track >= 0 and seen.rivals:
        return "two faces"
    return flaw
