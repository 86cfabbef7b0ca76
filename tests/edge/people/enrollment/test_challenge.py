"""The challenge as a machine: observations in, prompts and a result out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from edge.people.enrollment.challenge import (
    NODS,
    TURNS,
    Act,
    Challenge,
    ChallengeRules,
    ChallengeState,
    Observation,
    draw_acts,
)
from edge.people.gallery.lockout import AFTER, LONGEST_LOCK_S, compute_lock_s
from edge.types import Liveness

RULES = ChallengeRules(min_similarity=0.4)
STEP_S = 0.125
ME, NOT_ME = np.eye(8, dtype=np.float32)[:2]
NO_NUMBER = np.full(8, np.nan, np.float32)
OPPOSITE = {Act.LEFT: Act.RIGHT, Act.RIGHT: Act.LEFT, Act.UP: Act.DOWN, Act.DOWN: Act.UP}


def thumbnail(bend: float) -> np.ndarray:
    """A face whose middle moves against its rim as no flat picture's does."""
    rows, columns = np.mgrid[:46, :46].astype(np.float32) / 46 - 0.5
    depth = np.exp(-(rows**2 + columns**2) / 0.05)
    return (128 + 60 * np.sin(20 * (columns + bend * depth)) * np.cos(17 * rows)).astype(np.float32)


THUMBNAILS = {bend: thumbnail(bend) for bend in (0.0, 0.05)}
SHOWN = {
    Act.STRAIGHT: {},
    Act.LEFT: {"yaw_deg": 30.0},
    Act.RIGHT: {"yaw_deg": -30.0},
    Act.UP: {"pitch_deg": 10.0},
    Act.DOWN: {"pitch_deg": -26.0},
    Act.CLOSER: {"frontal_px": 80.0},
}


class Scene:
    """A challenge and somebody who obeys it, unless told otherwise."""

    def __init__(self, seed: int = 0, rules: ChallengeRules = RULES) -> None:
        self.challenge = Challenge(rules, Random(seed))
        self.now_s = 50.0
        self.progress = None
        self.asked: list[Act] = []

    def see(self, act: Act = Act.STRAIGHT, after_s: float = STEP_S, **what: object):
        self.now_s += after_s
        moves = act in TURNS + NODS
        seen = Observation(
            at_s=self.now_s, track=7, yaw_deg=2.0, pitch_deg=-8.0, frontal_px=60.0,
            quality_issue="", enrollment_issue="", quality=0.8, embedding=ME,
            thumbnail=THUMBNAILS[0.05 if moves else 0.0], liveness=Liveness.LIVE,
        )  # fmt: skip
        self.progress = self.challenge.observe(replace(seen, **SHOWN[act] | what))
        if not self.asked or self.asked[-1] is not self.progress.act:
            self.asked.append(self.progress.act)
        return self.progress

    def obey(self, times: int = 1, **what: object):
        for _ in range(times):
            self.see(self.progress.act if self.progress else Act.STRAIGHT, **what)
        return self.progress

    def obey_until(self, done: int):
        """Until so many acts are done and the next is asked for."""
        while self.challenge._stage < 2 * done + 1:
            assert self.obey().state is ChallengeState.RUNNING
        return self


def test_who_obeys_passes():
    scene = Scene()
    while scene.obey().state is ChallengeState.RUNNING:
        assert scene.progress.left_s > 0
    assert scene.progress.state is ChallengeState.PASSED
    assert scene.challenge.passed
    assert (scene.progress.done, scene.progress.total) == (3, 3)
    assert [act for act in scene.asked if act is not Act.STRAIGHT] == draw_acts(Random(0), 3)
    assert scene.asked[::2] == [Act.STRAIGHT] * 4
    assert scene.challenge.templates.shape == (7, 8)


def test_the_acts_are_a_turn_a_nod_and_a_step_in_any_order():
    orders = Counter(tuple(draw_acts(Random(seed), 3)) for seed in range(2000))
    assert len(orders) == 2 * 2 * 6  # all there are
    assert min(orders.values()) > 2000 / 24 / 2
    for acts in orders:
        assert (len(set(acts) & set(TURNS)), len(set(acts) & set(NODS))) == (1, 1)
        assert Act.CLOSER in acts


def test_fewer_than_three_acts_are_no_challenge():
    with pytest.raises(ValueError, match="at least 3"):
        ChallengeRules(min_similarity=0.4, acts=2)


def test_more_acts_may_be_asked_for():
    scene = Scene(rules=replace(RULES, acts=6))
    while scene.obey().state is ChallengeState.RUNNING:
        pass
    assert (scene.progress.state, scene.progress.done) == (ChallengeState.PASSED, 6)


@pytest.mark.parametrize("done", [0, 1, 2])
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"track": 8}, "replaced by another one"),
        ({"track": -1, "quality_issue": "no face"}, "lost"),
        ({"embedding": NOT_ME}, "another face"),
        ({"embedding": NO_NUMBER}, "another face"),
        (
            {"liveness": Liveness.SPOOF, "liveness_reason": "a picture of a face"},
            "a picture of a face",
        ),
        ({"after_s": 1.5}, "no picture for too long"),
        ({"after_s": -0.1}, "no picture for too long"),
        ({"after_s": math.nan}, "no picture for too long"),
    ],
)
def test_whatever_breaks_the_thread_ends_the_attempt(done, what, reason):
    progress = Scene().obey_until(done).obey(10, **what)
    assert progress.state is ChallengeState.FAILED
    assert reason in progress.reason


@pytest.mark.parametrize(
    "what",
    [
        {"yaw_deg": 2.0, "pitch_deg": -8.0, "frontal_px": 60.0},  # nothing happens
        {"thumbnail": THUMBNAILS[0.0], "frontal_px": 60.0},  # the pose of a plane
        {"quality_issue": "blurred"},
        {"other_faces": 1},
        {"yaw_deg": math.nan, "frontal_px": math.nan},
    ],
)
def test_what_is_not_seen_in_time_is_too_late(what):
    scene = Scene().obey_until(0)
    asked = scene.progress.act
    progress = scene.obey(100, **what)
    assert progress.state is ChallengeState.FAILED
    assert progress.reason.startswith(f"too late: {asked}")


def test_the_deadline_is_that_of_each_act():
    scene = Scene().obey_until(1)
    left_s = scene.progress.left_s
    assert RULES.act_s - 1 < left_s <= RULES.act_s
    scene.see(Act.STRAIGHT)
    assert scene.progress.left_s == pytest.approx(left_s - STEP_S)


@pytest.mark.parametrize("seed", range(8))
def test_the_wrong_way_is_refused(seed):
    scene = Scene(seed).obey_until(0)
    while scene.progress.act not in OPPOSITE:
        scene.obey()
    scene.see(OPPOSITE[scene.progress.act])
    assert scene.progress.state is ChallengeState.RUNNING  # one look may be an accident
    wrong = OPPOSITE[scene.progress.act]
    assert f"{wrong} instead of" in scene.see(wrong).reason


def test_a_recording_that_does_everything_does_the_wrong_thing_first():
    """All six orders of a turn, a nod and a step are played to each challenge that wants them."""
    passed = 0
    for seed in range(48):
        scene = Scene(seed, replace(RULES, act_s=4)).obey_until(0)
        for act in (Act.LEFT, Act.UP, Act.CLOSER):
            for shown in (act, Act.STRAIGHT):
                for _ in range(8):
                    scene.see(shown)
        passed += scene.progress.state is ChallengeState.PASSED
    assert passed == sum(
        draw_acts(Random(seed), 3) == [Act.LEFT, Act.UP, Act.CLOSER] for seed in range(48)
    )


def test_an_attempt_begins_with_a_straight_look_at_one_good_face():
    scene = Scene()
    no_face = {"track": -1, "quality_issue": "no face", "enrollment_issue": "no face"}
    for what in (no_face, {"enrollment_issue": "blurred"}, {"other_faces": 1}, {"yaw_deg": 40.0}):
        progress = scene.obey(5, **what)
        assert progress.hint
        assert not scene.challenge.begun
    scene.obey(3)
    assert scene.challenge.begun


def test_without_a_good_face_it_ends_and_is_no_attempt():
    scene = Scene()
    progress = scene.obey(400, enrollment_issue="too dark")
    assert progress.state is ChallengeState.FAILED
    assert "too dark" in progress.reason
    assert not scene.challenge.begun


def test_the_first_looks_are_of_one_face():
    scene = Scene()
    for row in range(20):
        scene.see(embedding=np.eye(8, dtype=np.float32)[row % 2])
    assert not scene.challenge.begun


def test_who_stood_there_before_is_no_template():
    scene = Scene()
    scene.see(track=6, embedding=NOT_ME, quality=0.9)
    while scene.obey().state is ChallengeState.RUNNING:
        pass
    assert scene.challenge.passed
    assert (scene.challenge.templates @ ME > 0.9).all()


@pytest.mark.parametrize("liveness", [Liveness.UNDECIDED, Liveness.NOT_CHECKED])
def test_who_is_not_surely_alive_does_not_pass(liveness):
    scene = Scene().obey_until(2)
    progress = scene.obey(100, liveness=liveness, liveness_reason="0 of 3 looks at its liveness")
    assert progress.state is ChallengeState.FAILED
    assert progress.reason == "not certainly live: 0 of 3 looks at its liveness"


def test_what_is_over_stays_over():
    scene = Scene().obey_until(1)
    scene.see(track=8)
    assert scene.obey(50).state is ChallengeState.FAILED
    assert not scene.challenge.passed


def test_looks_that_are_not_good_enough_are_no_templates():
    scene = Scene().obey_until(0)
    while scene.obey(enrollment_issue="too small").state is ChallengeState.RUNNING:
        pass
    assert scene.challenge.passed
    assert len(scene.challenge.templates) == 1  # of the beginning


# --- lockout ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "after_s", "wait_s"),
    [
        (0, 0, 0),
        (AFTER - 1, 0, 0),
        (AFTER, 0, 60),
        (AFTER, 59, 1),
        (AFTER, 60, 0),
        (AFTER + 1, 0, 120),
        (AFTER + 3, 400, 80),
        (AFTER + 500, 0, LONGEST_LOCK_S),
        (AFTER, -500, 60),  # a clock that was set back
    ],
)
def test_failures_in_a_row_lock_for_longer_and_longer(failures, after_s, wait_s):
    assert compute_lock_s([1000.0] * failures, 1000.0 + after_s) == wait_s
