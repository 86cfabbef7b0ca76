"""Fusion: several looks as one."""

from __future__ import annotations

import numpy as np
import pytest

from edge.people.fusion import fuse
from tests.support.gallery import faces


def test_one_look_stays_what_it_is():
    look = faces(1)
    assert fuse(look) is not None
    assert (fuse(look) == look[0]).all()


def test_the_fused_look_is_nearer_to_the_person_than_each():
    person = faces(1, seed=1, dimension=64)[0]
    looks = person + 0.15 * np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    fused = fuse(looks)
    assert np.linalg.norm(fused) == pytest.approx(1, abs=1e-6)
    assert fused @ person > (looks @ person).max()


def test_a_better_look_weighs_more():
    looks = np.eye(4, dtype=np.float32)[:2]
    fused = fuse(looks, np.array([0.9, 0.3], np.float32))
    assert fused[0] / fused[1] == pytest.approx(3, rel=1e-5)


def test_looks_that_are_alike_weigh_as_the_root_of_their_number():
    axes = np.eye(4, dtype=np.float32)
    fused = fuse(axes[[0] * 9 + [1]])
    assert fused[0] / fused[1] == pytest.approx(3, rel=1e-5)


def test_no_number_stays_no_number():
    looks = faces(3)
    looks[1] = np.nan
    assert np.isnan(fuse(looks)).any()


@pytest.mark.parametrize("quality", [0.0, 1e-9])
def test_looks_without_quality_still_give_a_direction(quality):
    assert np.linalg.norm(fuse(faces(3), np.full(3, quality, np.float32))) == pytest.approx(1)
