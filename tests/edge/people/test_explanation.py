"""What a face lacks for a name is said in plain words, from its message alone."""

import msgspec
import pytest
from msgspec import UNSET

from edge.people.explanation import describe, find_missing
from edge.wire.message_builder import build_faces
from edge.wire.schema import Face
from tests.support.recognition import AXES, ObedientEmbedder, ObedientLiveness, Stage, towards


def see(times=6, embedding=AXES[0], score=0.99, scale=1.0, **settings):
    """The message about a face after so many frames."""
    stage = Stage(ObedientEmbedder(embedding), ObedientLiveness(score), **settings)
    for _ in range(times):
        result = stage.event((40, 40), scale=scale)
    [face] = build_faces(result.faces, result.decisions)
    return face


@pytest.mark.parametrize(
    ("face", "what", "words"),
    [
        ({}, [], []),
        ({"times": 1}, ["liveness", "votes"], ["1 of 3 liveness scores", "1 of 3 agreeing looks"]),
        ({"scale": 0.3}, ["size", "liveness", "votes"], ["come closer", "no liveness", "a first"]),
        ({"score": 0.6}, ["liveness"], ["0.80 is needed"]),
        ({"score": 0.01}, ["liveness", "votes"], ["not a picture: against it: model -4.6", "0 of"]),
        ({"embedding": towards(0.2)}, ["similarity"], ["0.20 to the nearest person, 0.50 is"]),
        ({"embedding": towards(0.6, 0.58)}, ["margin"], ["a lead of 0.02 over the second-best"]),
        (
            {"score": float("nan")},
            ["liveness_model_nan", "liveness", "votes"],
            ["this one returns NaN", "no liveness score yet", "0 of 4"],
        ),
    ],
    ids=["known", "new", "far", "doubtful", "spoof", "stranger", "twins", "nan"],
)
def test_what_is_missing_is_said(face, what, words):
    missing = find_missing(see(**face))
    assert [lack.what for lack in missing] == what
    for lack, text in zip(missing, words, strict=True):
        assert text in lack.text


def test_a_closed_gallery_is_all_that_is_missing():
    stage = Stage(liveness=ObedientLiveness(0.99))
    stage.recognizer.close("the gallery cannot be used")
    result = stage.event((40, 40))
    [face] = build_faces(result.faces, result.decisions)
    assert face.needs is UNSET
    assert [lack.text for lack in find_missing(face)] == ["the gallery cannot be used"]


def test_a_face_without_a_decision_says_that_recognition_is_off():
    face = see()
    off = msgspec.structs.replace(face, outcome=UNSET, looks=UNSET, needs=UNSET)
    assert [lack.what for lack in find_missing(off)] == ["recognition"]


def test_all_that_was_measured_is_described_without_the_second_best_name():
    told = dict(describe(see(embedding=towards(0.8, 0.5))))
    assert told["name"] == "Ada"
    assert told["votes"] == "3 (3 needed)"
    assert told["similarity"] == "0.80 (0.50 needed)"
    assert told["second best"] == "0.50, 0.30 ahead (0.05 needed)"
    assert "Bob" not in str(told)
    assert told["witnesses"].startswith("model +4.6")


def test_the_votes_a_name_needs_stay_a_count_on_the_wire():
    line = msgspec.json.encode(see())
    assert b'"votes":3,' in line.partition(b'"needs":')[2]
    again = msgspec.json.decode(line, type=Face)
    assert isinstance(again.needs["votes"], int)
    assert msgspec.json.encode(again) == line
