"""Recognition: who is named, and above all who is not."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from edge.people.gallery.index import Index
from edge.people.liveness import witness as witnesses
from edge.people.liveness.evidence import MIN_LOOKS, WITNESSES
from edge.people.liveness.motion import MotionWitness
from edge.types import Liveness, Outcome, ReasonCode, Resampling
from edge.vision.face_crops import align_face
from tests.support.recognition import (
    ADA,
    AXES,
    BOB,
    ObedientEmbedder,
    ObedientLiveness,
    Stage,
    people,
    towards,
)

STRANGER = AXES[5]


def test_a_living_enrolled_person_is_named_with_a_reason():
    stage = Stage(liveness=ObedientLiveness(0.95))
    decision = stage.watch(4)
    assert (decision.outcome, decision.person, decision.name) == (Outcome.KNOWN, "id-a", "Ada")
    assert decision.liveness is Liveness.LIVE
    assert decision.similarity == pytest.approx(1)
    assert "3 of 3" in decision.reason


@pytest.mark.parametrize("resampling", get_args(Resampling))
def test_faces_are_aligned_as_the_embedder_was_trained(resampling):
    class Watching(ObedientEmbedder):
        def embed(self, faces):
            self.seen = faces
            return super().embed(faces)

    embedder = Watching(AXES[0])
    embedder.resampling = resampling
    stage = Stage(embedder)
    result = stage.event((40, 40), scale=2.5)
    picture, landmarks = result.frame.picture, result.faces.landmarks[0]
    expected = {kind: align_face(picture, landmarks, resampling=kind)
                for kind in get_args(Resampling)}  # fmt: skip
    np.testing.assert_array_equal(embedder.seen[0], expected.pop(resampling))
    assert not np.array_equal(embedder.seen[0], *expected.values())


def test_a_name_takes_as_many_looks_as_votes_are_asked_for():
    stage = Stage(liveness=ObedientLiveness(0.95), min_votes=5)
    outcomes = [stage.watch(1).outcome for _ in range(5)]
    assert outcomes == [Outcome.UNDECIDED] * 4 + [Outcome.KNOWN]


def test_a_stranger_is_unknown():
    stage = Stage(ObedientEmbedder(STRANGER), ObedientLiveness(0.95))
    decision = stage.watch(4)
    assert (decision.outcome, decision.name) == (Outcome.UNKNOWN, "")


TURNING = [(AXES[0] * 0.45 + AXES[axis] * np.sqrt(1 - 0.45**2)) for axis in (2, 3, 4)]


@pytest.mark.parametrize(
    ("settings", "of_tracks", "name"),
    [
        ({"threshold": 0}, True, "Ada"),
        ({"threshold": 0}, False, ""),  # measured with pictures: each must be near enough
        ({"threshold": 0.5}, True, ""),  # so must they with a threshold of one's own
    ],
)
def test_looks_that_alone_are_too_faint_name_a_person_if_tracks_were_calibrated(
    settings, of_tracks, name
):
    stage = Stage(ObedientEmbedder(*TURNING), ObedientLiveness(0.95), **settings)
    stage.recognizer.use(people(), 0.5, of_tracks=of_tracks)
    decision = stage.watch(3)
    assert decision.name == name
    assert decision.similarity == pytest.approx(0.66, abs=0.01)


def test_eleven_bad_looks_outvote_one_good_one():
    looks = [towards(0.45)] * 5 + [towards(0.9)] + [towards(0.45)] * 6
    stage = Stage(ObedientEmbedder(*looks), ObedientLiveness(0.95), min_votes=1)
    assert stage.watch(12).outcome is Outcome.UNKNOWN


def test_a_name_is_withdrawn_while_the_camera_is_frozen_and_given_again_after():
    stage = Stage(liveness=ObedientLiveness(0.95))
    assert stage.watch(4).outcome is Outcome.KNOWN
    frozen = [stage.watch(1, blind=True) for _ in range(4)]
    assert not any(decision.person for decision in frozen)
    assert (frozen[-1].outcome, frozen[-1].reason_code) == (
        Outcome.REJECTED, ReasonCode.FROZEN_PICTURE,
    )  # fmt: skip
    assert stage.event((40, 40), blind=True).decided == ()
    assert stage.watch(4).outcome is Outcome.KNOWN


# --- failing closed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "liveness", "says"),
    [
        ([math.nan], Liveness.UNDECIDED, "returned NaN"),
        ([0.9, 0.9, 0.9, math.nan], Liveness.UNDECIDED, "returned NaN"),
        ([0.5], Liveness.UNDECIDED, "perhaps"),
        ([0.05], Liveness.SPOOF, "picture of a face"),
        ([2.0], Liveness.UNDECIDED, "returned NaN"),
    ],
)
def test_who_is_not_surely_alive_has_no_name(scores, liveness, says):
    stage = Stage(liveness=ObedientLiveness(*scores))
    decision = stage.watch(15)  # with one refresh
    assert (decision.name, decision.liveness) == ("", liveness)
    assert says in decision.reason


def test_without_a_liveness_model_nobody_is_named():
    decision = Stage().watch(6)
    assert (decision.outcome, decision.name) == (Outcome.UNDECIDED, "")
    assert decision.liveness is Liveness.NOT_CHECKED
    assert "no liveness model" in decision.reason


def test_without_a_liveness_model_people_are_named_only_where_that_was_asked_for():
    decision = Stage(require_liveness=False).watch(4)
    assert (decision.name, decision.liveness) == ("Ada", Liveness.NOT_CHECKED)


def test_an_embedding_that_is_no_number_names_nobody():
    broken = np.full(8, np.nan, np.float32)
    decision = Stage(ObedientEmbedder(broken), ObedientLiveness(0.95)).watch(6)
    assert decision.name == ""


def test_a_gallery_of_another_embedder_names_nobody():
    stage = Stage(liveness=ObedientLiveness(0.95))
    stage.recognizer.use(Index.build([ADA], [np.eye(1, 16, dtype=np.float32)], dimension=16), 0.5)
    decision = stage.watch(6)
    assert decision.name == ""
    assert "another embedder" in decision.reason


def test_a_clip_that_spans_too_long_is_never_alive():
    liveness = ObedientLiveness(0.95, clip_frames=4, clip_s=0.5)  # 4 looks take 0.75 s
    decision = Stage(liveness=liveness).watch(12)
    assert decision.liveness is Liveness.UNDECIDED
    assert decision.name == ""


def test_a_clip_within_its_limit_is_alive():
    liveness = ObedientLiveness(0.95, clip_frames=4, clip_s=1.0)
    assert Stage(liveness=liveness).watch(12).liveness is Liveness.LIVE


def test_life_seen_long_ago_says_nothing():
    stage = Stage(liveness=ObedientLiveness(0.95), budget=1)
    assert stage.watch(5).name == "Ada"
    stage.now_s += 30
    assert stage.watch(1).name == ""


def test_a_picture_that_stands_still_is_no_further_look():
    stage = Stage(liveness=ObedientLiveness(0.95))
    stage.watch(1)
    decision = stage.watch(10, still=True)
    assert (decision.outcome, decision.name) == (Outcome.UNDECIDED, "")
    assert stage.embedder.asked == 1


def test_a_name_is_withdrawn_when_the_face_is_not_recognized_any_more():
    stage = Stage(liveness=ObedientLiveness(0.95), hold_s=4)
    assert stage.watch(4).name == "Ada"
    assert stage.watch(30, still=True).name == ""  # 7.5 s


# --- spoof ------------------------------------------------------------------------------------


def test_at_a_strict_door_a_spoof_stays_one_however_alive_it_looks_later():
    stage = Stage(liveness=ObedientLiveness(*[0.05] * 4, 0.99), require_motion=True)
    assert stage.watch(4).outcome is Outcome.SPOOF
    assert {stage.watch(1, after_s=0.9).outcome for _ in range(20)} == {Outcome.SPOOF}


def test_at_a_strict_door_a_spoof_sticks_to_the_person_who_shows_it():
    stage = Stage(liveness=ObedientLiveness(*[0.05] * 4, 0.99), require_motion=True)
    stage.watch(4, owner=7)
    stage.show(after_s=2)  # the face is gone, the person is not
    decision = stage.watch(6, owner=7)
    assert (decision.track_id, decision.outcome) == (7, Outcome.SPOOF)


def test_nobody_is_locked_out_by_a_bad_view():
    stage = Stage(liveness=ObedientLiveness(*[0.97] * 5, *[0.02] * 6, 0.97))
    assert stage.watch(5).name == "Ada"
    seen = [stage.watch(1).outcome for _ in range(48)]
    assert Outcome.UNDECIDED in seen
    assert seen[-1] is Outcome.KNOWN


def test_a_face_that_was_live_stays_so_at_the_score_that_made_it_so():
    rules = {"live_score": 0.4, "sure_score": 0.42, "spoof_score": 0.3}
    stage = Stage(liveness=ObedientLiveness(0.6, 0.55), **rules)
    assert stage.watch(6).name == "Ada"
    outcomes = {stage.watch(1, after_s=1).outcome for _ in range(12)}
    assert outcomes == {Outcome.KNOWN}


def test_one_bad_look_takes_no_name_away():
    stage = Stage(liveness=ObedientLiveness(*[0.97] * 6, 0.1, 0.97))
    outcomes = [stage.watch(1, after_s=1).outcome for _ in range(20)]
    assert outcomes[4:] == [Outcome.KNOWN] * 16


def test_after_a_spoof_the_model_must_be_sure_for_a_while():
    stage = Stage(liveness=ObedientLiveness(*[0.05] * 4, 0.85))  # and it moves
    assert stage.watch(4).outcome is Outcome.SPOOF
    outcomes = [stage.watch(1, after_s=0.5).outcome for _ in range(50)]
    assert Outcome.KNOWN not in outcomes[:20]
    assert outcomes[-1] is Outcome.KNOWN


def test_a_picture_shown_after_a_living_face_takes_the_name_away():
    stage = Stage(liveness=ObedientLiveness(*[0.97] * 3, 0.1))
    assert stage.watch(6).name == "Ada"
    late = [stage.watch(1, after_s=0.25).name for _ in range(12)]  # three seconds
    assert late[-1] == ""
    assert stage.watch(8).outcome is Outcome.SPOOF


@pytest.mark.parametrize(
    ("score", "settings", "name"),
    [
        (0.85, {}, "Ada"),  # it moves
        (0.85, {"still_face": True}, ""),
        (0.97, {"still_face": True}, "Ada"),
        (0.97, {"still_face": True, "require_motion": True}, ""),
        (0.85, {"still_face": True, "require_motion": False}, "Ada"),
    ],
)
def test_motion_is_asked_for_where_the_model_is_unsure(monkeypatch, score, settings, name):
    if settings.pop("still_face", False):
        monkeypatch.setattr(MotionWitness, "testify", lambda _: witnesses.SILENCE)
    decision = Stage(liveness=ObedientLiveness(score), **settings).watch(8)
    assert decision.name == name
    assert dict(decision.evidence)["model"] == pytest.approx(
        math.log(score / (1 - score)), abs=1e-3
    )


@pytest.mark.parametrize(("score", "looks"), [(0.85, MIN_LOOKS), (0.97, 3)])
def test_a_face_that_moves_is_watched_for_longer_where_the_model_is_unsure(score, looks):
    stage = Stage(liveness=ObedientLiveness(score))
    names = [stage.watch(1).name for _ in range(looks)]
    assert names == [""] * (looks - 1) + ["Ada"]


@pytest.mark.parametrize("kind", WITNESSES)
def test_a_witness_that_gives_no_number_names_nobody(monkeypatch, kind):
    monkeypatch.setattr(kind, "testify", lambda _: witnesses.Testimony(math.nan, math.nan))
    decision = Stage(liveness=ObedientLiveness(0.97)).watch(12)
    assert (decision.name, decision.liveness) == ("", Liveness.UNDECIDED)
    assert decision.reason == "a witness of liveness returned NaN"


def test_surroundings_that_become_others_take_the_name_away_until_it_is_earned_again():
    stage = Stage(liveness=ObedientLiveness(0.97))
    assert stage.watch(4).name == "Ada"
    stage._background[:] = stage._background[::-1, ::-1]  # held before the camera, same histogram
    names = [stage.watch(1).name for _ in range(12)]
    assert "" in names
    assert names[-1] == "Ada"


# --- nothing leaks ----------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"epoch": 2}, {"camera": "hall"}])
def test_another_epoch_or_camera_begins_with_nothing(change):
    stage = Stage(liveness=ObedientLiveness(0.95))
    assert stage.watch(4).name == "Ada"
    decision = stage.watch(1, **change)
    assert (decision.name, decision.votes) == ("", 1)


def test_another_place_is_another_face():
    stage = Stage(liveness=ObedientLiveness(0.95))
    first = stage.watch(4)
    (second,) = stage.show((220, 120))
    assert second.track_id != first.track_id
    assert second.name == ""


def test_a_face_that_moves_to_another_person_begins_with_nothing():
    stage = Stage(liveness=ObedientLiveness(0.95))
    assert stage.watch(4, owner=7).name == "Ada"
    decision = stage.watch(1, owner=8)
    assert (decision.track_id, decision.name) == (8, "")


def test_a_face_that_suddenly_is_another_one_begins_with_nothing():
    embedder = ObedientEmbedder(*[AXES[0]] * 4, AXES[1])
    stage = Stage(embedder, ObedientLiveness(0.95), refresh_s=0.2)
    assert stage.watch(4).name == "Ada"
    assert stage.watch(1).name == ""
    assert stage.watch(4).name == "Bob"


def test_a_cut_begins_with_nothing():
    stage = Stage(liveness=ObedientLiveness(0.95))
    assert stage.watch(4).name == "Ada"
    stage._background = 200 - stage._background
    assert stage.watch(1).name == ""


def test_each_of_two_faces_has_its_own_votes():
    embedder = ObedientEmbedder(*[AXES[0], AXES[1]] * 5)
    stage = Stage(embedder, ObedientLiveness(0.95))
    for _ in range(4):
        decisions = stage.show((20, 40), (200, 40))
    assert {d.name for d in decisions} == {"Ada", "Bob"}


# --- looking ----------------------------------------------------------------------------------


def test_no_more_faces_are_looked_at_than_the_budget_allows():
    stage = Stage(liveness=ObedientLiveness(0.95), budget=1)
    for looks in range(1, 5):
        stage.show((20, 40), (200, 40))
        assert stage.embedder.asked == looks


def test_a_decided_face_is_looked_at_for_refreshes_only():
    stage = Stage(liveness=ObedientLiveness(0.95))
    stage.watch(4)
    before = stage.embedder.asked
    stage.watch(8)  # two seconds
    assert stage.embedder.asked - before == 2


def test_small_faces_are_rejected_without_a_look():
    stage = Stage(liveness=ObedientLiveness(0.95))
    decision = stage.watch(4, scale=0.3)
    assert (decision.outcome, decision.reason) == (Outcome.REJECTED, "too small")
    assert stage.embedder.asked == 0


def test_a_face_tells_its_quality():
    event = Stage(liveness=ObedientLiveness(0.95)).event((40, 40))
    assert 0 < event.faces.quality[0] <= 1


def test_a_decision_is_news_once():
    stage = Stage(liveness=ObedientLiveness(0.95))
    news = [stage.event((40, 40)).decided for _ in range(8)]
    assert sorted(news) == [()] * 7 + [(0,)]


# --- the gallery changes ----------------------------------------------------------------------


def test_who_is_forgotten_loses_the_name_at_once():
    stage = Stage(liveness=ObedientLiveness(0.95))
    assert stage.watch(4).name == "Ada"
    stage.recognizer.use(people().without("Ada"), 0.5)
    assert stage.watch(1, still=True).name == ""


def test_who_is_enrolled_gets_the_name_at_once():
    stage = Stage(liveness=ObedientLiveness(0.95))
    stage.recognizer.use(people().without("Ada"), 0.5)
    assert stage.watch(4).outcome is Outcome.UNKNOWN
    stage.recognizer.use(people(), 0.5)
    assert stage.watch(1, still=True).name == "Ada"


def test_a_gallery_that_closes_names_nobody():
    stage = Stage(liveness=ObedientLiveness(0.95))
    stage.watch(4)
    stage.recognizer.close("the gallery cannot be used")
    decision = stage.watch(1)
    assert (decision.name, decision.reason) == ("", "the gallery cannot be used")


def test_a_look_alike_in_the_gallery_makes_it_ambiguous():
    between = towards(0.7, 0.69)
    stage = Stage(ObedientEmbedder(between), ObedientLiveness(0.95))
    decision = stage.watch(4)
    assert (decision.outcome, decision.name) == (Outcome.UNKNOWN, "")
    assert "several" in decision.reason
    assert decision.reason_code is ReasonCode.AMBIGUOUS
    assert BOB.name not in decision.reason


@pytest.mark.parametrize(
    ("face", "name"),
    [
        (towards(0.9), "Ada"),
        (towards(0.8, 0, 0.55), "Ada"),  # still nearer to her
        (towards(0.7, 0, 0.71), ""),  # nearer to the look-alike by a hair
        (towards(0.6, 0, 0.8), ""),
        (AXES[2], ""),
    ],
)
def test_who_is_nearer_to_a_known_look_alike_than_to_the_person_is_never_named(face, name):
    stage = Stage(ObedientEmbedder(face), ObedientLiveness(0.95))
    alike = [AXES[2:3], np.zeros((0, 8), np.float32)]
    stage.recognizer.use(
        Index.build([ADA, BOB], [AXES[:1], AXES[1:2]], alike, dimension=8), threshold=0.5
    )
    assert {stage.watch(1, after_s=1).name for _ in range(20)} <= {"", name}
    assert stage.watch(1).name == name


def test_a_stranger_is_looked_at_for_refreshes_only_once_the_network_was_asked():
    stage = Stage(ObedientEmbedder(STRANGER), ObedientLiveness(0.5))  # neither alive nor spoof
    stage.watch(4)
    before = stage.embedder.asked
    assert before <= 4
    stage.watch(8)  # two seconds
    assert stage.embedder.asked - before == 2


def test_a_stranger_who_turns_to_the_camera_is_looked_at_at_once():
    embedder = ObedientEmbedder(*[STRANGER] * 3, AXES[0])
    stage = Stage(embedder, ObedientLiveness(0.95))
    assert stage.watch(4).outcome is Outcome.UNKNOWN
    before = stage.embedder.asked
    stage.watch(2, scale=1.5)
    assert stage.embedder.asked > before


def test_a_camera_that_pans_is_no_cut():
    stage = Stage(liveness=ObedientLiveness(0.95))
    scene = np.zeros((240, 320, 3), np.uint8)
    scene[:, 200:260] = 180
    scene[100:140] += 60
    stage._background = scene
    assert stage.watch(4).name == "Ada"
    stage._background = np.roll(scene, 18, axis=1)
    assert stage.watch(1).name == "Ada"
