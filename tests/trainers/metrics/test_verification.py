"""Figures of verification and search against brute force and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge.people.fusion import fuse
from trainers.metrics import verification
from trainers.metrics.verification import across_videos, bootstrap


def crowd(seed: int = 0, people: int = 6, noise: float = 0.6):
    """People with two or three videos of three pictures each, noisy unit vectors."""
    rng = np.random.default_rng(seed)
    rows, person, video = [], [], []
    for who in range(people):
        center = rng.normal(size=8)
        for _ in range(2 + who % 2):
            clip = max(video, default=-1) + 1
            for _ in range(3):
                rows.append(center + noise * rng.normal(size=8))
                person.append(who)
                video.append(clip)
    unit = np.array(rows, np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit, np.array(person), np.array(video)


def test_genuine_pairs_lie_across_videos_and_impostors_are_two_people():
    unit, person, video = crowd()
    pairs = across_videos(unit, person, video)
    genuine, impostor = [], []
    for a in range(len(unit)):
        for b in range(a + 1, len(unit)):
            alike = float(unit[a] @ unit[b])
            if person[a] != person[b]:
                impostor.append(alike)
            elif video[a] != video[b]:
                genuine.append(alike)
    np.testing.assert_allclose(np.sort(pairs.genuine), np.sort(genuine), atol=1e-6)
    np.testing.assert_allclose(np.sort(pairs.impostor), np.sort(impostor), atol=1e-6)
    assert len(pairs.genuine_person) == len(genuine)
    assert (pairs.impostor_people[:, 0] != pairs.impostor_people[:, 1]).all()


def test_auc_is_the_chance_that_a_genuine_pair_wins():
    genuine, impostor = np.float32([0.9, 0.5, 0.2]), np.float32([0.5, 0.1])
    wins = [(g > i) + 0.5 * (g == i) for g in genuine for i in impostor]
    assert verification.auc(genuine, impostor) == pytest.approx(np.mean(wins))


@pytest.mark.parametrize("far", [0.0, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_threshold_is_the_lowest_that_keeps_the_rate(far, seed):
    rng = np.random.default_rng(seed)
    impostor = np.round(rng.normal(size=200), 1).astype(np.float32)  # with ties
    threshold = verification.threshold_at(impostor, far)
    assert np.mean(impostor >= threshold) <= far
    lower = impostor[impostor < threshold]
    if len(lower):
        assert np.mean(impostor >= lower.max()) > far


def test_equal_error_and_curve_by_hand():
    genuine, impostor = np.float32([0.9, 0.8, 0.7, 0.3]), np.float32([0.6, 0.2, 0.1, 0.0])
    assert verification.eer(genuine, impostor) == pytest.approx(0.25)
    assert verification.tar_at(genuine, impostor, 0.0) == pytest.approx(0.75)
    assert verification.tar_at(genuine, impostor, 0.25) == pytest.approx(1.0)
    far, tar, thresholds = verification.roc(genuine, impostor)
    for f, t, at in zip(far, tar, thresholds, strict=True):
        assert f == pytest.approx(np.mean(impostor >= at))
        assert t == pytest.approx(np.mean(genuine >= at))


@pytest.mark.parametrize("tracks", [False, True])
@pytest.mark.parametrize("videos", [1, 2])
@pytest.mark.parametrize("fused", [True, False])
def test_a_search_equals_looking_at_everybody(tracks, videos, fused):
    unit, person, video = crowd(3)
    quality = np.random.default_rng(0).uniform(0.2, 1, len(unit)).astype(np.float32)
    enrolled = [0, 2, 4]
    kind = verification.SearchKind(tracks, videos, fused)
    found = verification.open_set(unit, person, video, enrolled, kind, quality)
    gallery, in_gallery = {}, set()
    for who in enrolled:
        clips = np.unique(video[person == who])
        clips = clips[: min(videos, len(clips) - 1)]
        in_gallery |= set(clips.tolist())
        rows = np.isin(video, clips)
        gallery[who] = fuse(unit[rows], quality[rows])[None] if fused else unit[rows]
    mated, unmated = [], []
    for clip in np.unique(video):
        who = person[video == clip][0]
        if clip in in_gallery:
            continue
        looks = unit[video == clip]
        if tracks:
            looks = [fuse(looks, quality[video == clip])]
        for look in looks:
            scores = {name: float((rows @ look).max()) for name, rows in gallery.items()}
            best = max(scores, key=scores.get)
            if who not in gallery:
                unmated.append(scores[best])
            else:
                mated.append(scores[best] if best == who else -1)
    np.testing.assert_allclose(np.sort(found.mated), np.sort(mated), atol=1e-5)
    np.testing.assert_allclose(np.sort(found.unmated), np.sort(unmated), atol=1e-5)


def test_a_miss_is_a_known_person_below_the_threshold_of_strangers():
    searches = verification.Searches(
        np.float32([0.9, 0.6, 0.3, -1]), np.linspace(0, 0.5, 11, dtype=np.float32)
    )
    assert verification.fnir_at(searches, 0.0) == 0.5
    assert verification.fnir_at(searches, 0.5) == 0.25  # a wrong name stays a miss


def test_dropping_poor_pictures_lowers_the_error_when_quality_tells():
    unit, person, video = crowd(1, people=12, noise=0.15)
    rng = np.random.default_rng(5)
    poor = rng.permutation(len(unit))[: len(unit) // 5]
    unit[poor] = rng.normal(size=(len(poor), 8))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    quality = np.ones(len(unit), np.float32)
    quality[poor] = 0
    curve = verification.error_versus_discard(unit, person, video, quality, shares=(0, 0.2))
    assert curve[0][1] > 0.1
    assert curve[1][1] < 0.2 * curve[0][1]


def test_intervals_hold_the_value_and_narrow_with_more_people():
    def width(people: int) -> float:
        pairs = across_videos(*crowd(2, people=people, noise=0.9))
        figure = bootstrap(pairs, {"AUC": verification.auc}, draws=100)["AUC"]
        assert figure.low <= figure.value <= figure.high
        assert figure.n == len(pairs.genuine)
        return figure.high - figure.low

    assert width(40) < width(6)


def test_people_who_cannot_be_told_apart_give_an_area_of_a_half():
    rng = np.random.default_rng(0)
    assert verification.auc(rng.normal(size=4000), rng.normal(size=4000)) == pytest.approx(
        0.5, abs=0.03
    )
