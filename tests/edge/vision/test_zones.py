"""Zones and lines: who is where, who crossed what."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge.config import Line, Zone
from edge.errors import ConfigError
from edge.types import TrackEventType, Tracks
from edge.vision.polygons import Polygons
from edge.vision.zones import ZoneMonitor

CLASSES = ("person", "car")
SIZE_WH = (1000, 500)
HEIGHT_PX = 100  # of the boxes below: the margin is 5 px
SQUARE = Zone(
    name="square", polygon=((0.2, 0.2), (0.4, 0.2), (0.4, 0.8), (0.2, 0.8)),
    dwell_s=1, debounce_s=0,
)  # fmt: skip
UP = Line(name="up", a=(0.5, 1), b=(0.5, 0), debounce_s=0)  # looking up the picture, right is right
SHORT = Line(name="short", a=(0.5, 0.6), b=(0.5, 0.4), debounce_s=0)


def tracks(feet_px, track_ids=None, class_id=0):
    """Boxes of 40 x 100 whose feet stand at the given pixels."""
    feet = np.array(feet_px, np.float32).reshape(-1, 2)
    n = len(feet)
    xyxy = np.concatenate([feet, feet], axis=1) + np.array([-20, -HEIGHT_PX, 20, 0], "f4")
    return Tracks(
        xyxy, np.full(n, 0.5, "f4"), np.full(n, class_id, "i4"),
        np.array(track_ids if track_ids is not None else range(n), np.int64),
        np.zeros(n, "i4"), np.zeros(n, "i4"), np.zeros(n, "?"),
    )  # fmt: skip


def follow(places, path_px, step_s=0.1, class_id=0):
    """One track along a path; what happened as (frame, change, place, direction)."""
    told = []
    for frame, foot in enumerate(path_px):
        one = tracks([foot], [7], class_id)
        for change in places.update(one, SIZE_WH, frame * step_s)[1]:
            assert change.track_id == 7
            assert change.xyxy == tuple(one.xyxy[0].tolist())
            told.append((frame, change.change, change.place, change.direction))
    return told


# --- zones ------------------------------------------------------------------------------------


def test_enters_dwells_once_and_leaves():
    places = ZoneMonitor([SQUARE], [], CLASSES)
    path = [(100, 250)] * 2 + [(300, 250)] * 15 + [(700, 250)] * 3
    assert follow(places, path) == [
        (2, TrackEventType.ENTERED, "square", ""),
        (12, TrackEventType.DWELLED, "square", ""),
        (17, TrackEventType.LEFT, "square", ""),
    ]


def test_dwell_is_told_in_seconds():
    places = ZoneMonitor([SQUARE], [], CLASSES)
    told = [
        (change.change, change.dwell_s)
        for at_s, x in ((0, 300), (1.5, 300), (4, 900), (5, 300))
        for change in places.update(tracks([(x, 250)]), SIZE_WH, at_s)[1]
    ]
    assert told == [
        (TrackEventType.ENTERED, 0), (TrackEventType.DWELLED, 1.5),
        (TrackEventType.LEFT, 4), (TrackEventType.ENTERED, 0),
    ]  # fmt: skip


def test_a_zone_without_dwell_s_never_dwells():
    zone = SQUARE.model_copy(update={"dwell_s": 0})
    assert len(follow(ZoneMonitor([zone], [], CLASSES), [(300, 250)] * 50, step_s=100)) == 1


def test_rows_name_the_zones_they_stand_in():
    left = Zone(name="left", polygon=((0, 0), (0.5, 0), (0.5, 1), (0, 1)))
    names, _ = ZoneMonitor([SQUARE, left], [], CLASSES).update(
        tracks([(300, 250), (50, 50), (900, 250)]), SIZE_WH, 0.0
    )
    assert names == (("square", "left"), ("left",), ())


def test_a_foot_that_shakes_at_the_outline_enters_once():
    rng = np.random.default_rng(0)
    path = [(200 + rng.uniform(-4, 4), 250) for _ in range(300)]
    told = follow(ZoneMonitor([SQUARE], [], CLASSES), path, step_s=0.001)
    assert [change for _, change, _, _ in told] == [TrackEventType.ENTERED]


def test_a_box_that_ends_at_the_lower_edge_stands_in_a_zone_drawn_to_it():
    floor = Zone(name="floor", polygon=((0, 0.9), (1, 0.9), (1, 1), (0, 1)))
    names, _ = ZoneMonitor([floor], [], CLASSES).update(
        tracks([(500, 500), (1000, 500), (0, 500)]), SIZE_WH, 0.0
    )
    assert names == (("floor",),) * 3


@pytest.mark.parametrize(
    ("labels", "class_id", "told"),
    [((), 1, 1), (("car",), 1, 1), (("person",), 1, 0), (("person", "car"), 0, 1)],
)
def test_a_zone_or_line_cares_about_its_labels(labels, class_id, told):
    zone, line = (place.model_copy(update={"labels": labels}) for place in (SQUARE, UP))
    assert len(follow(ZoneMonitor([zone], [], CLASSES), [(300, 250)], class_id=class_id)) == told
    path = [(450, 250), (550, 250)]
    assert len(follow(ZoneMonitor([], [line], CLASSES), path, class_id=class_id)) == told


def test_an_ended_track_leaves_the_zones_it_was_in():
    places = ZoneMonitor([SQUARE], [], CLASSES)
    places.update(tracks([(300, 250), (300, 300), (900, 300)], [5, 3, 4]), SIZE_WH, 1.0)
    places.update(tracks([(301, 250)], [5]), SIZE_WH, 3.0)
    left = places.forget([5, 4, 99], 10.0)
    assert [(c.track_id, c.change, c.place, c.dwell_s) for c in left] == [
        (5, TrackEventType.LEFT, "square", 2.0)  # until it was last seen
    ]
    assert left[0].xyxy[0] == 281
    assert len(places) == 1
    assert places.forget([5], 11.0) == ()


def test_a_dwell_never_ends_after_the_time_it_is_told():
    places = ZoneMonitor([SQUARE], [], CLASSES)
    for at_s in (1.0, 3.0):
        places.update(tracks([(300, 250)], [5]), SIZE_WH, at_s)
    assert places.forget([5], 2.0)[0].dwell_s == 1.0


# --- lines ------------------------------------------------------------------------------------


# Feet of one track in pixels; the line stands at x = 500, the margin is 5 px.
def straight(name, a, b):
    return Line(name=name, a=a, b=b, debounce_s=0)


CROSSINGS = [
    # line, path, directions told
    (UP, [(450, 250), (550, 250)], ["left_to_right"]),
    (UP, [(550, 250), (450, 250)], ["right_to_left"]),
    (UP, [(10, 20), (990, 480)], ["left_to_right"]),  # too fast to be seen near it
    (UP, [(450, 250), (497, 250), (503, 250), (550, 250)], ["left_to_right"]),
    (UP, [(450, 250), (503, 250), (497, 250), (450, 250)], []),  # turned round on the line
    (UP, [(450, 250), *[(503, 250), (498, 250)] * 50], []),  # shakes on the line
    (UP, [(450, 250), *[(503, 250), (498, 250)] * 50, (520, 250)], ["left_to_right"]),
    (UP, [(450, 250), (550, 250)] * 2, ["left_to_right", "right_to_left", "left_to_right"]),
    (UP, [(450, 250), (490, 250)], []),  # stays before it
    (SHORT, [(450, 250), (550, 250)], ["left_to_right"]),
    (SHORT, [(450, 250), (550, 350)], ["left_to_right"]),  # through its very end, x 500 y 300
    (SHORT, [(450, 150), (550, 150)], []),  # passes by its end
    (SHORT, [(450, 250), (450, 150), (550, 150), (550, 250)], []),  # walks round its end
    (SHORT, [(450, 250), (503, 250), (503, 150), (450, 150), (550, 150)], []),  # through and back
    (SHORT, [(450, 250), (503, 250), (497, 250), (497, 150), (550, 150)], []),  # back, then round
    (SHORT, [(450, 150), (550, 150), (450, 250)], ["right_to_left"]),
    (straight("down", (0.5, 0), (0.5, 1)), [(450, 250), (550, 250)], ["right_to_left"]),
    (straight("east", (0, 0.5), (1, 0.5)), [(300, 200), (300, 300)], ["left_to_right"]),
    (straight("slope", (0, 1), (1, 0)), [(300, 200), (700, 300)], ["left_to_right"]),
]


@pytest.mark.parametrize(("line", "path", "directions"), CROSSINGS)
def test_a_crossing_is_told_once_with_its_direction(line, path, directions):
    told = follow(ZoneMonitor([], [line], CLASSES), path)
    assert [direction for _, _, _, direction in told] == directions
    assert {(change, place) for _, change, place, _ in told} <= {
        (TrackEventType.CROSSED, line.name)
    }


def rock(amplitude, frames=150):
    """Feet at 10 frames per second of an object 100 px tall that rocks on x = 500 px."""
    return [(500 + amplitude * math.sin(0.9 * n), 250) for n in range(frames)]


@pytest.mark.parametrize("amplitude", [3, 6, 12, 20])
def test_rocking_on_a_line_is_no_crossing(amplitude):
    line = Line(name="line", a=(0.5, 1), b=(0.5, 0))
    path = [(450, 250), *rock(amplitude), (450, 250)]
    assert follow(ZoneMonitor([], [line], CLASSES), path) == []


@pytest.mark.parametrize("amplitude", [3, 6, 12, 20])
def test_rocking_on_the_outline_of_a_zone_is_one_visit(amplitude):
    zone = Zone(name="left", polygon=((0, 0), (0.5, 0), (0.5, 1), (0, 1)))
    path = [(700, 250), *rock(amplitude), *[(700, 250)] * 10]
    changes = [change for _, change, _, _ in follow(ZoneMonitor([zone], [], CLASSES), path)]
    assert changes == [TrackEventType.ENTERED, TrackEventType.LEFT]


def test_a_wider_margin_and_a_longer_debounce_ignore_more():
    path = [(450, 250), *[(520, 250)] * 8, (450, 250)]

    def count(**options):
        line = Line(name="line", a=(0.5, 1), b=(0.5, 0), **options)
        return len(follow(ZoneMonitor([], [line], CLASSES), path))

    assert count() == 2 - 1  # it came back, but has not stayed there yet
    assert count(debounce_s=1) == 0
    assert count(margin=0.3) == 0


def test_who_vanishes_beyond_a_line_has_crossed_it():
    monitor = ZoneMonitor([], [Line(name="line", a=(0.5, 1), b=(0.5, 0))], CLASSES)
    assert follow(monitor, [(450, 250), (550, 250), (600, 250)]) == []
    (event,) = monitor.forget([7], 0.3)
    assert (event.change, event.direction) == (TrackEventType.CROSSED, "left_to_right")


def test_the_time_in_a_zone_ends_when_it_was_left_not_when_that_was_certain():
    zone = Zone(name="left", polygon=((0, 0), (0.5, 0), (0.5, 1), (0, 1)), debounce_s=1)
    monitor, left = ZoneMonitor([zone], [], CLASSES), []
    for n, x in enumerate([300] * 21 + [700] * 11):
        left += monitor.update(tracks([(x, 250)], [7]), SIZE_WH, n * 0.1)[1]
    assert left[-1].change is TrackEventType.LEFT
    assert left[-1].dwell_s == pytest.approx(2.1)


def test_other_zones_take_over_who_is_where():
    square, line = SQUARE, Line(name="line", a=(0.5, 1), b=(0.5, 0))
    gone = Zone(name="gone", polygon=((0, 0), (1, 0), (1, 1), (0, 1)))
    old = ZoneMonitor([gone, square], [line], CLASSES)
    follow(old, [(300, 250)] * 5)
    moved = square.model_copy(update={"polygon": ((0.2, 0.2), (0.6, 0.2), (0.6, 0.8), (0.2, 0.8))})
    new_zone = Zone(name="new", polygon=((0, 0), (1, 0), (1, 1), (0, 1)))
    new = ZoneMonitor([moved, new_zone], [line], CLASSES)
    (left,) = new.take_over(old, 0.5)
    assert (left.change, left.place) == (TrackEventType.LEFT, "gone")
    assert left.dwell_s == pytest.approx(0.4)
    told = [
        (round(n * 0.1, 1), event.change, event.place)
        for n in range(5, 12)
        for event in new.update(tracks([(550, 250)], [7]), SIZE_WH, n * 0.1)[1]
    ]
    assert told == [
        (0.5, TrackEventType.ENTERED, "new"),
        (1.0, TrackEventType.CROSSED, "line"),
        (1.0, TrackEventType.DWELLED, "square"),  # since frame 0, under both configurations
    ]


POINT = st.tuples(st.floats(0, 1), st.floats(0, 1))
COARSE = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda p: (p[0] / 20, p[1] / 20))
OTHER = {"left_to_right": "right_to_left", "right_to_left": "left_to_right"}


def crossings(a, b, path):
    told = follow(ZoneMonitor([], [straight("l", a, b)], CLASSES), path)
    return [direction for _, _, _, direction in told]


def sides(line, points):
    """Signed distances of points to the endless line through two others."""
    way, away = line[1] - line[0], points - line[0]
    return (way[0] * away[:, 1] - way[1] * away[:, 0]) / np.hypot(*way)


def to_px(point):
    return point[0] * 990 + 5.123, point[1] * 490 + 5.077  # off the lines between the points


@given(COARSE, COARSE, COARSE, COARSE)
@settings(deadline=None)
def test_a_crossing_there_is_a_crossing_back_and_a_line_turned_round_swaps_sides(a, b, here, there):
    line, feet = np.array([a, b]) * SIZE_WH, np.array([to_px(here), to_px(there)])
    assume(a != b)
    ends = sides(line, feet)
    assume((np.abs(ends) > 5.01).all())  # both are clear of the margin
    forth = crossings(a, b, [to_px(here), to_px(there)])
    swapped = [OTHER[direction] for direction in forth]
    assert crossings(a, b, [to_px(there), to_px(here)]) == swapped
    assert crossings(b, a, [to_px(here), to_px(there)]) == swapped
    assert crossings(a, b, [to_px(here), to_px(there), to_px(here)]) == forth + swapped
    meet = ends[0] * ends[1] < 0 and np.prod(sides(feet, line)) <= 0  # the segments intersect
    assert len(forth) == meet


@given(st.lists(POINT, min_size=1, max_size=40))
@settings(deadline=None)
def test_crossings_alternate_on_an_endless_line(path):
    told = crossings((0.5, 1), (0.5, 0), [to_px(point) for point in path])
    assert all(one != other for one, other in itertools.pairwise(told))


# --- state ------------------------------------------------------------------------------------

STEP = st.tuples(st.dictionaries(st.integers(1, 9), POINT, max_size=6), st.sets(st.integers(1, 9)))


@given(st.lists(STEP, max_size=20))
@settings(deadline=None)
def test_state_is_as_large_as_the_tracks_alive_and_stays_tell_whole_stories(steps):
    places = ZoneMonitor([SQUARE], [UP], CLASSES)
    alive, inside = set(), set()
    for at_s, (found, ended) in enumerate(steps):
        told = list(places.forget(ended, at_s))
        alive -= ended
        feet = [to_px(point) for point in found.values()]
        names, changes = places.update(tracks(feet, list(found)), SIZE_WH, at_s)
        alive |= set(found)
        assert len(places) == len(alive)
        for change in (*told, *changes):
            assert np.isfinite(change.dwell_s)
            assert change.dwell_s >= 0
            if change.change is TrackEventType.ENTERED:
                assert change.track_id not in inside
                inside.add(change.track_id)
            elif change.change is TrackEventType.LEFT:
                inside.remove(change.track_id)
        assert not inside & (ended - set(found))
        for track_id, where in zip(found, names, strict=True):
            assert (where == ("square",)) == (track_id in inside)
    places.forget(range(10), 99)
    assert len(places) == 0


def test_nothing_configured_costs_and_remembers_nothing():
    places = ZoneMonitor([], [], CLASSES)
    assert places.update(tracks([(1, 1), (2, 2)]), SIZE_WH, 0.0) == (((), ()), ())
    assert len(places) == 0


@pytest.mark.parametrize(
    ("zones", "lines", "key"),
    [([SQUARE, SQUARE], [], "zones[1].labels"), ([], [UP, UP], "lines[1].labels")],
)
def test_an_unknown_label_names_camera_key_and_the_known_labels(zones, lines, key):
    wrong = {"labels": ("person", "cat")}
    zones = [z.model_copy(update=wrong if n else {}) for n, z in enumerate(zones)]
    lines = [z.model_copy(update=wrong if n else {}) for n, z in enumerate(lines)]
    with pytest.raises(ConfigError) as caught:
        ZoneMonitor(zones, lines, CLASSES, "door")
    for part in ("'door'", key, "'cat'", "person, car"):
        assert part in str(caught.value)


# --- polygons ---------------------------------------------------------------------------------


@given(st.lists(COARSE, min_size=3, max_size=7), POINT)
@settings(deadline=None)
def test_inside_is_the_even_odd_rule(polygon, point):
    x, y = point[0] * 0.999 + 0.0003, point[1] * 0.999 + 0.0007
    crossed = False
    for (ax, ay), (bx, by) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if (ay > y) != (by > y):
            crossed ^= x < ax + (y - ay) * (bx - ax) / (by - ay)
    assert Polygons([polygon, polygon]).contain(np.array([[x, y]])).tolist() == [[crossed] * 2]


@given(COARSE, COARSE, COARSE, COARSE, st.floats(0, 1))
@settings(deadline=None)
def test_a_point_on_the_common_edge_of_two_triangles_is_in_at_most_one(a, b, c, d, share):
    """The two lie on either side of a-b, so nothing is in both, the edge included."""
    (ax, ay), (bx, by) = a, b

    def side(p):
        return (bx - ax) * (p[1] - ay) - (by - ay) * (p[0] - ax)

    if side(c) * side(d) >= -1e-9:
        return
    on_edge = np.array([[ax + share * (bx - ax), ay + share * (by - ay)]])
    assert Polygons([(a, b, c), (a, b, d)]).contain(on_edge).sum() <= 1


def test_distance_is_to_the_outline_in_the_unit_given():
    square = Polygons([[(0, 0), (1, 0), (0, 1)], SQUARE.polygon])
    points = np.array([[0.1, 0.5], [0.3, 0.5], [0.1, 0.1]])
    gaps = square.distance(1, points, (1000, 500))
    np.testing.assert_allclose(gaps, [100, 100, np.hypot(100, 50)])
