"""Engines that see something else are told from those that only round otherwise."""

import numpy as np
import pytest

from edge.engines.parity import ParityCheck
from edge.manifest import Manifest

DETECT = Manifest(task="detect", name="m", input_wh=(64, 64), score_threshold=0.1)
FACES = Manifest(task="faces", name="m", input_wh=(64, 64), score_threshold=0.5)
A, B, WEAK = [0, 0, 20, 20, 0.9, 0], [30, 30, 60, 60, 0.8, 1], [5, 40, 15, 60, 0.15, 0]


def rows(*found, size=5):
    out = np.zeros((1, size, 6), np.float32)
    out[0, : len(found)] = np.float32(found).reshape(-1, 6)
    return {"detections": out}


def moved(row, px=0.0, score=0.0, kind=0):
    return [row[0] + px, row[1], row[2] + px, row[3], row[4] + score, row[5] + kind]


@pytest.mark.parametrize(
    ("given", "agrees"),
    [
        (rows(A, B, WEAK), True),
        (rows(A, B), True),  # a weak row may turn over
        (rows(B, A), True),
        (rows(moved(A, px=2), moved(B, score=-0.1)), True),
        (rows(A), False),
        (rows(A, B, [40, 0, 60, 20, 0.7, 2]), False),
        (rows(A, moved(B, kind=1)), False),
        (rows(A, moved(B, px=20)), False),
        (rows(A, moved(B, score=-0.3)), False),
        (rows(), False),
        (rows(A, B, size=4), False),
        ({"detections": rows(A, B)["detections"] * np.float32(np.nan)}, False),
        ({}, False),
    ],
    ids=["same", "weak lost", "order", "rounded", "lost", "more", "class", "place", "score",
         "nothing", "shape", "NaN", "no output"],
)  # fmt: skip
def test_rows_need_a_counterpart_on_the_other_side(given, agrees):
    tally = ParityCheck(DETECT)
    tally.add(rows(A, B, WEAK), given)
    assert (not tally.problem) is agrees


def test_few_losses_among_many_are_rounding():
    many = [[n * 10, 0, n * 10 + 9, 9, 0.9, 0] for n in range(40)]
    for lost, agrees in ((3, True), (9, False)):
        tally = ParityCheck(DETECT)
        tally.add(rows(*many, size=40), rows(*many[lost:], size=40))
        assert (not tally.problem) is agrees
        assert tally.rows == 80 - lost


def test_where_nothing_is_seen_nothing_is_proven():
    tally = ParityCheck(DETECT)
    tally.add(rows(), rows())
    assert (tally.problem, tally.rows) == ("", 0)


@pytest.mark.parametrize(("px", "agrees"), [(1, True), (4, False)])
def test_points_belong_to_a_face(px, agrees):
    points = np.zeros((1, 5, 5, 2), np.float32)
    wanted = rows(A) | {"landmarks": points}
    given = rows(A) | {"landmarks": points + np.float32(px)}
    tally = ParityCheck(FACES)
    tally.add(wanted, given)
    assert (not tally.problem) is agrees


@pytest.mark.parametrize(
    ("task", "wanted", "given", "agrees"),
    [
        ("embed", [[1, 0], [0, 1]], [[0.999, 0.04], [0, 1]], True),
        ("embed", [[1, 0], [0, 1]], [[1, 0], [1, 0]], False),
        ("liveness", [0.9, 0.1], [0.88, 0.12], True),
        ("liveness", [0.9, 0.1], [0.9, 0.3], False),
    ],
)
def test_descriptions_and_answers_must_be_near(task, wanted, given, agrees):
    name = {"embed": "embeddings", "liveness": "live"}[task]
    tally = ParityCheck(Manifest(task=task, name="m", input_wh=(112, 112)))
    tally.add({name: np.float32(wanted)}, {name: np.float32(given)})
    assert (not tally.problem) is agrees
    assert tally.rows == 2
