"""The challenge: a live person does what is asked in front of the camera, with one and the same
face.

A photo cannot turn its head, and a recording does not know the order. First the person looks
straight at the camera; then come a turn, a nod and a step closer in random order, and after each of
them the straight look again, in which the face is compared with the first one. Each has its
deadline. The wrong movement, another face, a lost face or one that is not live ends the attempt.
All of it is arithmetic on observations: clock and randomness come from outside.

Poses are measured from the five landmarks relative to the straight look, so that neither the shape
of a face nor the height of the camera matters. A plane that is tilted shrinks its points without
moving the nose between the eyes; landmarks are noisy, though, so a turn or a nod must also change
the face as no flat picture can (`planarity.compute_residual`).

Measured with faces-nano on four photos: mapped onto a rough head and turned by 20 or 30 degrees,
their pose moved by 10 to 27 and the residual was 0.19 to 0.42; nodding by 15 or 22 moved it by 3 to
14 with residuals of 0.14 to 0.33. Tilted as planes by as much, they moved by 9 at most and the
residual was 0.06.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

import numpy as np

from edge.compat import StrEnum
from edge.errors import EdgeError
from edge.people.liveness.planarity import compute_residual
from edge.types import F32, Liveness


class ChallengeError(EdgeError):
    """The challenge was not passed."""


class Act(StrEnum):
    """What a person is asked to do; left and right are the person's own."""

    STRAIGHT = "straight"
    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"
    CLOSER = "closer"


TURNS = (Act.LEFT, Act.RIGHT)
NODS = (Act.UP, Act.DOWN)


class ChallengeState(StrEnum):
    """The state of a challenge."""

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ChallengeRules:
    """What is required. Raising angles, ratios or counts makes it harder, raising times easier.

    Attributes:
        min_similarity: Cosine from which two straight looks show one person.
        min_turned_similarity: The same for a turned face.
        acts: Number of acts, at least 3.
        turn_deg: Least angle of a turn.
        nod_deg: Least angle of a nod.
        min_residual: Least planar-registration residual of a turn or a nod.
        min_approach: Least ratio by which the eyes' distance grows in a step closer.
        straight_deg: Greatest deviation of a straight look from the first one.
        hold_frames: Consecutive observations that an act, or a failure, takes.
        begin_s: Longest wait for the first straight look.
        act_s: Longest time for each act, and for each straight look after it.
        gap_s: Longest time without a face or without a picture.
    """

    min_similarity: float
    min_turned_similarity: float = 0.2
    acts: int = 3
    turn_deg: float = 13
    nod_deg: float = 5
    min_residual: float = 0.15
    min_approach: float = 1.25
    straight_deg: float = 9
    hold_frames: int = 2
    begin_s: float = 30
    act_s: float = 8
    gap_s: float = 1.0

    def __post_init__(self) -> None:
        if self.acts < 3:
            raise ValueError(f"a challenge must have at least 3 acts, got {self.acts}")


# A wrong movement must be larger than a right one, since people and landmarks are imprecise.
WRONG_SIDE = 1.5  # times the angle of a turn or nod, to the other side
WRONG_TURN_DEG, WRONG_NOD_DEG, WRONG_APPROACH = 21, 16, 1.6
FIRST_LOOKS = 3  # observations that make the first straight look
FACING_DEG = (30, 35)  # greatest yaw and pitch of the first look: the camera may be higher up
STEADY_DEG = 8  # greatest deviation between the first looks


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What one picture shows.

    Attributes:
        at_s: When the picture was taken, monotonic seconds.
        track: The face's track, -1 without a face.
        other_faces: Number of other faces of about its size.
        yaw_deg: See `face_quality.Pose`.
        pitch_deg: See `face_quality.Pose`.
        frontal_px: Distance of the eyes as observation from the front, pixels.
        quality_issue: Why the face is not good enough to be compared; empty when it is.
        enrollment_issue: Why it is not good enough to be enrolled; empty when it is.
        embedding: ``(D,)`` float32 of unit length if the face is good enough, else empty.
        thumbnail: ``(46, 46)`` float32, see `planarity.make_thumbnail`.
    """

    at_s: float
    track: int = -1
    other_faces: int = 0
    yaw_deg: float = math.nan
    pitch_deg: float = math.nan
    frontal_px: float = math.nan
    quality_issue: str = "no face"
    enrollment_issue: str = "no face"
    quality: float = 0.0
    embedding: F32 = field(default_factory=lambda: np.zeros(0, np.float32))
    thumbnail: F32 = field(default_factory=lambda: np.zeros((46, 46), np.float32))
    liveness: Liveness = Liveness.UNDECIDED
    liveness_reason: str = ""


@dataclass(frozen=True, slots=True)
class ChallengeProgress:
    """A challenge after an observation.

    Attributes:
        act: What is to be done now.
        left_s: Seconds until its deadline.
        limit_s: Seconds it may take in all.
        hint: What keeps the act from being recognized, or empty.
        reason: Why it failed, or empty.
    """

    act: Act
    left_s: float
    limit_s: float
    done: int
    total: int
    hint: str
    state: ChallengeState = ChallengeState.RUNNING
    reason: str = ""


def draw_acts(rng: Random, count: int) -> list[Act]:
    """Draw a turn, a nod, a step closer and perhaps more turns and nods, in random order."""
    acts = [rng.choice(TURNS), rng.choice(NODS), Act.CLOSER]
    acts += [rng.choice(TURNS + NODS) for _ in range(count - len(acts))]
    rng.shuffle(acts)
    return acts


class Challenge:
    """One attempt."""

    def __init__(self, rules: ChallengeRules, rng: Random) -> None:
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
        self._failure = ""

    # --- the result -----------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether the first straight look is over: from here on it counts as an attempt."""
        return self._stage > 0

    @property
    def passed(self) -> bool:
        """Whether everything was done."""
        return self._stage == len(self._stages) and not self._failure

    @property
    def templates(self) -> F32:
        """``(T, D)`` float32: the best look of each stage that is good enough to be enrolled."""
        return np.stack([look.embedding for _, look in sorted(self._best.items())])

    # --- observing ------------------------------------------------------------------------------

    def observe(self, observation: Observation) -> ChallengeProgress:
        """Take one picture into account."""
        if self._failure or self.passed:
            return self._report(observation, "")
        if math.isnan(self._deadline_s):
            self._deadline_s = observation.at_s + self._rules.begin_s
            self._seen_s = self._picture_s = observation.at_s
        self._failure = self._find_breach(observation)
        hint = ""
        if not self._failure:
            hint = self._take_act(observation) if self.begun else self._take_first_look(observation)
        self._picture_s = observation.at_s
        return self._report(observation, hint)

    def _report(self, observation: Observation, hint: str) -> ChallengeProgress:
        act = Act.STRAIGHT if self.passed else self._stages[self._stage]
        done = self._stage // 2
        state = ChallengeState.RUNNING
        if self._failure:
            state = ChallengeState.FAILED
        elif self.passed:
            state = ChallengeState.PASSED
        left_s = max(0.0, self._deadline_s - observation.at_s)
        limit_s = self._rules.act_s if self.begun else self._rules.begin_s
        return ChallengeProgress(
            act, left_s, limit_s, done, len(self._acts), hint, state, self._failure
        )

    def _find_breach(self, observation: Observation) -> str:
        """Why the attempt is over, whatever the face does; empty when it is not."""
        act = self._stages[self._stage]
        if not 0 <= observation.at_s - self._picture_s <= self._rules.gap_s:  # nor NaN
            return "the camera sent no picture for too long"
        if not observation.at_s <= self._deadline_s:
            last = self._stage == len(self._stages) - 1
            if last and observation.liveness is not Liveness.LIVE:
                return f"not certainly live: {observation.liveness_reason}"
            issue = "" if self.begun else observation.quality_issue or observation.enrollment_issue
            return f"too late: {act} ({issue})" if issue else f"too late: {act}"
        if observation.liveness is Liveness.SPOOF:
            return observation.liveness_reason
        if not self.begun:
            return ""
        if observation.track >= 0:
            self._seen_s = observation.at_s
        if observation.at_s - self._seen_s > self._rules.gap_s:
            return "the face was lost"
        if observation.track >= 0 and observation.track != self._first[0].track:
            return "the face was lost or replaced by another one"
        return ""

    # --- the first straight look ----------------------------------------------------------------

    def _take_first_look(self, observation: Observation) -> str:
        """Collect the looks with which all later ones are compared."""
        facing = (
            abs(observation.yaw_deg) <= FACING_DEG[0]
            and abs(observation.pitch_deg) <= FACING_DEG[1]
        )
        hint = _find_hint(observation, observation.enrollment_issue)
        if not hint and not facing:
            hint = "turned away"
        if hint or not self._is_steady(observation):
            self._first = []
            self._best.clear()  # earlier looks may show another person
        if not hint:
            self._first.append(observation)
            self._keep_best(observation)
        if len(self._first) >= FIRST_LOOKS:
            self._advance(observation)
        return hint

    def _is_steady(self, observation: Observation) -> bool:
        return all(
            look.track == observation.track
            and abs(look.yaw_deg - observation.yaw_deg) <= STEADY_DEG
            and abs(look.pitch_deg - observation.pitch_deg) <= STEADY_DEG
            and float(look.embedding @ observation.embedding) >= self._rules.min_similarity
            for look in self._first
        )

    # --- the acts and the straight looks after them ---------------------------------------------

    def _take_act(self, observation: Observation) -> str:
        hint = _find_hint(observation, observation.quality_issue)
        if hint:
            self._held = 0
            return hint
        rules, act = self._rules, self._stages[self._stage]
        straight = max(map(abs, self._measure_turn(observation))) <= rules.straight_deg
        similarity = np.mean([look.embedding @ observation.embedding for look in self._first])
        required = rules.min_similarity if straight else rules.min_turned_similarity
        same = bool(similarity >= required)  # NaN is not
        done = straight if act is Act.STRAIGHT else self._shows(act, observation)
        wrong = set() if done or act is Act.STRAIGHT else self._find_wrong_acts(act, observation)
        self._unlike = 0 if same else self._unlike + 1
        self._wrong = self._wrong + 1 if wrong else 0
        self._held = self._held + 1 if done and same else 0
        if self._unlike >= rules.hold_frames:
            self._failure = "another face took its place"
        elif self._wrong >= rules.hold_frames:
            self._failure = f"{' and '.join(sorted(wrong))} instead of {act}"
        elif same:
            self._keep_best(observation)
            if self._held >= rules.hold_frames:
                return self._finish(observation)
        return ""

    def _finish(self, observation: Observation) -> str:
        """End the stage; the last one only with a live face."""
        last = self._stage == len(self._stages) - 1
        if last and observation.liveness is not Liveness.LIVE:
            return observation.liveness_reason
        self._advance(observation)
        return ""

    def _advance(self, observation: Observation) -> None:
        if self._stages[self._stage] is Act.STRAIGHT:
            self._before_px = observation.frontal_px
        self._stage += 1
        self._held = self._wrong = 0
        self._deadline_s = observation.at_s + self._rules.act_s
        self._seen_s = observation.at_s

    def _keep_best(self, observation: Observation) -> None:
        best = self._best.get(self._stage)
        if not observation.enrollment_issue and (
            best is None or observation.quality > best.quality
        ):
            self._best[self._stage] = observation

    # --- poses ----------------------------------------------------------------------------------

    def _measure_turn(self, observation: Observation) -> tuple[float, float]:
        """Yaw and pitch since the first straight look, degrees."""
        yaw = observation.yaw_deg - float(np.mean([look.yaw_deg for look in self._first]))
        pitch = observation.pitch_deg - float(np.mean([look.pitch_deg for look in self._first]))
        return yaw, pitch

    def _shows(self, act: Act, observation: Observation) -> bool:
        """Whether a picture shows the act."""
        if act is Act.CLOSER:
            return observation.frontal_px >= self._before_px * self._rules.min_approach
        yaw, pitch = self._measure_turn(observation)
        turn, nod = self._rules.turn_deg, self._rules.nod_deg
        if act not in _find_acts(yaw, pitch, turn, nod):
            return False
        residual = compute_residual(self._first[-1].thumbnail, observation.thumbnail)
        return residual >= self._rules.min_residual

    def _find_wrong_acts(self, act: Act, observation: Observation) -> set[Act]:
        """Acts that a picture shows clearly although they were not asked for."""
        yaw, pitch = self._measure_turn(observation)
        turn = WRONG_SIDE * self._rules.turn_deg if act in TURNS else WRONG_TURN_DEG
        nod = WRONG_SIDE * self._rules.nod_deg if act in NODS else WRONG_NOD_DEG
        wrong = _find_acts(yaw, pitch, turn, nod) - {act}
        if act is not Act.CLOSER and observation.frontal_px >= self._before_px * WRONG_APPROACH:
            wrong.add(Act.CLOSER)
        return wrong


def _find_acts(yaw: float, pitch: float, turn: float, nod: float) -> set[Act]:
    """Turns and nods of at least that many degrees."""
    checks = {
        Act.LEFT: yaw >= turn,  # the person's left is on the right of the picture
        Act.RIGHT: yaw <= -turn,
        Act.UP: pitch >= nod,
        Act.DOWN: pitch <= -nod,
    }
    return {act for act, is_shown in checks.items() if is_shown}


def _find_hint(observation: Observation, issue: str) -> str:
    return "two faces" if observation.track >= 0 and observation.other_faces else issue
