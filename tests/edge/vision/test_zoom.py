"""Zoom: windows around what moves, tiles, and one list of objects from all of them."""

from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import Camera
from edge.pipeline import CameraView
from edge.types import Detections, Frame, RgbPicture
from edge.vision import boxes
from edge.vision.zoom import (
    MAX_PICTURES,
    MAX_WINDOWS,
    MIN_GAIN,
    NO_WINDOWS,
    Zoom,
    detect_near,
    merge,
    plan_tiles,
    plan_windows,
)

FULL_HD, NETWORK = (1920, 1080), (416, 256)


def detections(*rows):
    """Rows of x1 y1 x2 y2, score and class."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int32))


region = st.tuples(*[st.floats(0, 1, width=32)] * 4).map(
    lambda r: [min(r[0], r[2]), min(r[1], r[3]), max(r[0], r[2]), max(r[1], r[3])]
)


@given(st.lists(region, max_size=12), st.sampled_from([FULL_HD, (640, 360), (300, 200)]))
def test_windows_lie_in_the_picture_gain_and_enlarge_nothing(regions, size_wh):
    scaled = np.array(regions, np.float32).reshape(-1, 4) * np.float32([*size_wh, *size_wh])
    windows = plan_windows(scaled, size_wh, NETWORK)
    assert len(windows) <= MAX_WINDOWS
    assert (windows == np.round(windows)).all()
    assert (windows[:, :2] % 4 == 0).all()
    assert (windows >= 0).all()
    assert (windows[:, 2:] <= size_wh).all()
    sizes = windows[:, 2:] - windows[:, :2]
    assert (sizes >= np.minimum(NETWORK, size_wh)).all()
    assert (np.array(size_wh) / sizes >= MIN_GAIN - 0.01).any(axis=1).all()


def test_a_small_region_is_seen_pixel_by_pixel_and_a_large_one_not_at_all():
    small, large = [900, 500, 930, 580], [100, 100, 1700, 1000]
    (window,) = plan_windows(np.float32([small, large]), FULL_HD, NETWORK)
    assert (window[2:] - window[:2] - NETWORK < 4).all()
    assert boxes.containment(np.float32([small]), window[None])[0, 0] == 1


def test_regions_that_lie_together_share_a_window():
    regions = np.float32([[900, 500, 930, 580], [960, 510, 990, 590], [100, 900, 120, 960]])
    windows = plan_windows(regions, FULL_HD, NETWORK)
    assert len(windows) == 2
    assert (boxes.containment(regions, windows).max(axis=1) == 1).all()


@pytest.mark.parametrize(("columns", "rows"), [(2, 1), (3, 2), (8, 8)])
def test_tiles_cover_the_picture_and_overlap(columns, rows):
    tiles = plan_tiles(columns, rows, FULL_HD)
    assert len(tiles) == columns * rows
    seen = np.zeros((1080, 1920), np.uint8)
    for x1, y1, x2, y2 in tiles.astype(int).tolist():
        seen[y1:y2, x1:x2] += 1
    assert seen.min() == 1
    assert seen.max() > 1


def test_an_object_in_the_whole_and_in_a_window_is_one_with_the_better_score():
    whole = detections([100, 100, 120, 150, 0.3, 0], [500, 500, 700, 900, 0.9, 0])
    part = detections([21, 19, 41, 71, 0.8, 0], [200, 50, 215, 90, 0.6, 0])
    windows = np.float32([[80, 80, 496, 336]])
    merged = merge(whole, [part], windows, FULL_HD)
    assert sorted(merged.score.tolist()) == pytest.approx([0.6, 0.8, 0.9])
    best = merged.xyxy[merged.score.argsort()[1]]
    np.testing.assert_allclose(best, [101, 99, 121, 151])


def test_what_a_window_cuts_off_is_not_believed_but_at_the_pictures_edge():
    windows = np.float32([[0, 80, 416, 336]])
    part = detections(
        [0, 10, 30, 100, 0.9, 0], [380, 50, 416, 150, 0.9, 0], [50, 200, 90, 255, 0.9, 0]
    )
    merged = merge(detections(), [part], windows, FULL_HD)
    np.testing.assert_allclose(merged.xyxy, [[0, 90, 30, 180]])


def test_what_a_large_window_cuts_off_may_end_some_pixels_before_its_border():
    """A pixel of the network is then more than four of the window."""
    tile = plan_tiles(2, 1, FULL_HD)[:1]
    right = float(tile[0, 2])
    part = detections([right - 100, 300, right - 6, 600, 0.9, 0], [500, 300, 600, 600, 0.8, 0])
    merged = merge(detections(), [part], tile, FULL_HD)
    np.testing.assert_allclose(merged.xyxy, [[500, 300, 600, 600]])


def test_objects_of_two_classes_and_neighbors_stay_two():
    whole = detections([100, 100, 200, 200, 0.9, 0], [100, 100, 200, 200, 0.8, 1])
    part = detections([170, 100, 270, 200, 0.7, 0])
    merged = merge(whole, [part], np.float32([[0, 0, 416, 256]]), FULL_HD)
    assert len(merged) == 3


def test_without_windows_nothing_changes():
    whole = detections([1, 2, 3, 4, 0.5, 0], [1, 2, 3, 4, 0.5, 0])
    assert merge(whole, [], NO_WINDOWS, FULL_HD) is whole


def test_a_camera_zooms_at_what_moves_and_at_whoever_is_followed():
    picture = RgbPicture(np.broadcast_to(np.uint8(0), (1080, 1920, 3)))
    moving, track = np.float32([[100, 100, 120, 150]]), np.float32([[1500, 800, 1530, 870]])
    frame = Frame("a", 1, 1, 0, 0, picture, regions=moving)
    zoom = Zoom.from_settings(Camera(name="a", source={}, zoom=True))
    windows = zoom.plan(frame, track, NETWORK)
    assert (boxes.containment(np.concatenate([moving, track]), windows).max(axis=1) == 1).all()
    tiles = Zoom.from_settings(Camera(name="a", source={}, tiles="3x2"))
    assert len(tiles.plan(frame, track, NETWORK)) == 6
    assert not Zoom.from_settings(Camera(name="a", source={})).enabled


def test_a_camera_that_sees_many_move_looks_closer_at_each_in_turn():
    picture = RgbPicture(np.broadcast_to(np.uint8(0), (2160, 3840, 3)))
    corners = np.float32([[x, y] for x in (100, 1000, 1900, 2800) for y in (100, 1500)])
    moving = np.concatenate([corners, corners + 50], axis=1)
    frame = Frame("a", 1, 1, 0, 0, picture, regions=moving)
    view = CameraView.create(Camera(name="a", source={}, zoom=True), ("person",), count(1))
    looks = [view.plan_windows(frame, Counting()) for _ in range(2)]
    assert [len(windows) for windows in looks] == [MAX_WINDOWS] * 2
    assert (boxes.containment(moving, np.concatenate(looks)).max(axis=1) == 1).all()


@given(st.integers(1, 30), st.integers(0, 99))
def test_more_windows_than_a_look_has_take_turns(many, turn):
    """Regions far apart in a row of 4K pictures, each smaller than the one before."""
    size_wh = (600 * many, 1080)
    regions = np.float32([[600 * n, 0, 600 * n + 100 - n, 100] for n in range(many)])
    turns = range(turn, turn - (-many // MAX_WINDOWS))
    looks = [plan_windows(regions, size_wh, NETWORK, turn) for turn in turns]
    assert all(len(windows) == min(many, MAX_WINDOWS) for windows in looks)
    seen = boxes.containment(regions, np.concatenate(looks)).max(axis=1)
    assert (seen == 1).all()


def test_what_one_look_found_beside_each_other_stays_two():
    """A child before an adult, found in the whole, in the window, or only from near."""
    adult, child = [400, 200, 480, 420, 0.9, 0], [420, 320, 460, 420, 0.6, 0]
    window = np.float32([[300, 100, 716, 456]])
    near = [[x1 - 300, y1 - 100, x2 - 300, y2 - 100, s - 0.1, c]
            for x1, y1, x2, y2, s, c in (adult, child)]  # fmt: skip
    other = [10, 10, 40, 90, 0.9, 0]
    for whole, part in [([adult, child], [other]), ([adult], near), ([adult, child], near)]:
        merged = merge(detections(*whole), [detections(*part)], window, FULL_HD)
        lying = (np.abs(merged.xyxy - np.float32(child[:4])) < 1).all(axis=1)
        assert lying.sum() == 1, (whole, part)


def test_a_torso_that_a_window_found_is_part_of_the_person():
    whole = detections([400, 200, 480, 420, 0.9, 0])
    torso = detections([110, 120, 170, 190, 0.8, 0])
    merged = merge(whole, [torso], np.float32([[300, 100, 716, 356]]), FULL_HD)
    np.testing.assert_allclose(merged.xyxy, [[400, 200, 480, 420]])


box = st.tuples(*[st.integers(0, 200)] * 4, st.integers(1, 9), st.integers(0, 1)).map(
    lambda b: [b[0], b[1], b[0] + b[2] % 60 + 1, b[1] + b[3] % 60 + 1, b[4] / 10, b[5]]
)


@given(st.lists(box, max_size=8), st.lists(box, max_size=8))
def test_merging_keeps_what_is_best_and_loses_nothing_of_the_whole_to_itself(whole, part):
    found, near = detections(*whole), detections(*part)
    window = np.float32([[0, 0, *FULL_HD]])
    merged = merge(found, [near], window, FULL_HD)
    assert len(merged) <= len(found) + len(near)
    assert {tuple(row) for row in merged.xyxy.tolist()} <= {
        tuple(row) for row in [*found.xyxy.tolist(), *near.xyxy.tolist()]
    }
    assert len(merge(found, [detections()], window, FULL_HD)) == len(found)
    if whole or part:
        best = max([*found.score.tolist(), *near.score.tolist()])
        assert merged.score.max() == np.float32(best)


class Counting:
    """Finds nothing, and notes the sizes of its batches."""

    input_wh, classes = NETWORK, ("person",)

    def __init__(self):
        self.batches = []

    def detect(self, frames):
        self.batches.append([frame.picture.size_wh for frame in frames])
        return [detections([1, 1, 9, 9, 0.5, 0]) for _ in frames]


def test_however_many_tiles_a_batch_stays_bounded_and_the_order_right():
    picture = RgbPicture(np.broadcast_to(np.uint8(0), (1080, 1920, 3)))
    frames = [Frame(str(n), 1, 1, 0, 0, picture) for n in range(16)]
    tiles = plan_tiles(8, 8, FULL_HD)
    windows = [tiles if n % 2 else NO_WINDOWS for n in range(16)]
    detector = Counting()
    found = detect_near(detector, frames, windows)
    assert max(map(len, detector.batches)) <= MAX_PICTURES
    assert sum(map(len, detector.batches)) == 16 + 8 * 64
    assert detector.batches[0][:16] == [FULL_HD] * 16
    assert [len(one) for one in found] == [1, len(found[1])] * 8
    detector = Counting()
    many = frames * 4
    detect_near(detector, many, [NO_WINDOWS] * len(many))
    assert list(map(len, detector.batches)) == [64]  # as one, without windows
