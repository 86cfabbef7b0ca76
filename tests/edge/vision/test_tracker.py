"""The tracker: ids, stages, time, occlusion."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config import Tracking
from edge.errors import ConfigError
from edge.types import Detections, TrackEventType
from edge.vision.tracker import Tracker, make_track_ids

CLASSES = 3


def detections(*rows):
    """Rows of x, y (center), score and class; boxes of 40 x 80."""
    table = np.array(rows, np.float64).reshape(-1, 4)
    half = np.array([20, 40])
    xyxy = np.concatenate([table[:, :2] - half, table[:, :2] + half], axis=1)
    return Detections(
        xyxy.astype(np.float32), table[:, 2].astype(np.float32), table[:, 3].astype(np.int32)
    )


def tracker(**options):
    return Tracker(Tracking(**options), itertools.count(1))


def ids_of(changes):
    return [change.track_id for change in changes]


# --- ids --------------------------------------------------------------------------------------


@given(st.floats(1.6e9, 4e9), st.floats(0.01, 1e8), st.integers(1, 300))
@settings(deadline=None)
def test_a_later_process_gives_no_id_again(start_s, later_s, count):
    first = list(itertools.islice(make_track_ids(start_s), count))
    second = list(itertools.islice(make_track_ids(start_s + later_s), count))
    assert max(first) < min(second)
    assert max(second) < 2**53


def test_ids_fit_a_double_until_2242():
    assert next(make_track_ids(8_589_934_590)) < 2**53


@pytest.mark.parametrize("start_s", [-1, math.nan, math.inf, 1e12])
def test_a_start_time_that_is_none_is_refused(start_s):
    with pytest.raises(ValueError, match="start_s must be Unix seconds"):
        make_track_ids(start_s)


# --- properties -------------------------------------------------------------------------------

ROW = st.tuples(
    st.floats(0, 400), st.floats(0, 200), st.floats(0, 1, width=32), st.integers(0, CLASSES - 1)
)
FRAME = st.lists(ROW, max_size=12)
STEP = st.sampled_from([0.0, 0.033, 0.1, 0.1, 0.5, 3.0, -1.0])
SCENE = st.lists(st.one_of(st.tuples(FRAME, STEP), st.just("reset")), max_size=25)


@given(SCENE, SCENE, st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_lives_of_tracks_are_told_in_order_and_ids_never_return(first, second, confirm_frames):
    ids = make_track_ids(1.7e9)
    cameras = [Tracker(Tracking(confirm_frames=confirm_frames), ids) for _ in range(2)]
    begun, ended, at_s = set(), set(), 0.0
    for camera, scene in zip(cameras, (first, second), strict=True):
        alive = set()
        for entry in scene:
            if entry == "reset":
                assert set(ids_of(camera.reset(at_s))) == alive
                ended |= alive
                alive.clear()
                continue
            at_s += entry[1]
            update = camera.update(detections(*entry[0]), at_s)
            new, gone = ids_of(update.began), ids_of(update.ended)
            assert not set(new) & (begun | ended)
            assert set(gone) <= alive
            begun.update(new)
            ended.update(gone)
            alive = (alive | set(new)) - set(gone)
            seen = update.tracks.track_id.tolist()
            assert len(set(seen)) == len(seen)
            assert set(new) <= set(seen) <= alive
            assert (update.tracks.missed == 0).all()


@given(st.lists(st.tuples(FRAME, STEP), max_size=20))
@settings(max_examples=150, deadline=None)
def test_each_detection_serves_one_track_and_each_high_one_serves(scene):
    subject, at_s = tracker(), 0.0
    for rows, step_s in scene:
        at_s += step_s
        found = detections(*rows)
        tracks = subject.update(found, at_s).tracks
        now = subject._rows[subject._rows["missed"] == 0]  # tentative ones too
        key = [(*box, score, c) for box, score, c in zip(
            found.xyxy.tolist(), found.score.tolist(), found.class_id.tolist(), strict=True
        )]  # fmt: skip
        used = [(*row["xyxy"].tolist(), float(row["score"]), int(row["class_id"])) for row in now]
        for one in set(used):
            assert used.count(one) <= key.count(one)
        for one in {one for one in key if one[4] >= 0.5}:
            assert used.count(one) == key.count(one)
        assert len(tracks) <= len(now)
        assert np.isfinite(subject._rows["motion"]).all()


@pytest.mark.parametrize("scene", ["identical", "grid", "nested"])
def test_three_hundred_detections_keep_their_tracks(scene):
    n = np.arange(300)
    rows = {
        "identical": [(50, 50, 0.9, 0)] * 300,
        "grid": [(60 * (k % 20), 100 * (k // 20), 0.9, 0) for k in n],
        "nested": [(50 + k / 10, 50, 0.9, 0) for k in n],
    }[scene]
    subject = tracker()
    subject.update(detections(*rows), 0.0)
    first = subject.update(detections(*rows), 0.1)
    second = subject.update(detections(*rows), 0.2)
    assert len(first.began) == 300
    assert sorted(second.tracks.track_id) == sorted(first.tracks.track_id)


# --- stages -----------------------------------------------------------------------------------

# What is seen of one still object in consecutive frames 0.1 s apart: its score, or - for nothing.
STAGES = [
    # scores                        frames in which it is reported (x), why
    ("9 9 9 9",                     ". x x x"),  # confirmed by the second frame
    ("9 - 9 9",                     ". . . x"),  # a tentative track that is missed is forgotten
    ("3 3 3 3",                     ". . . ."),  # low scores begin nothing
    ("9 3 9 9",                     ". . . x"),  # nor confirm it
    ("9 9 3 3 3 9",                 ". x x x x x"),  # but they continue a confirmed track
    ("9 9 - 3 9",                   ". x . . x"),  # not one that was hidden
    ("9 9 - - - 9",                 ". x . . . x"),  # hidden for a while, the same track
    ("9 9 0.5 9",                   ". x . x"),  # below low_score it is nothing
]  # fmt: skip


@pytest.mark.parametrize(("scores", "reported"), STAGES)
def test_scores_decide_what_begins_and_what_continues(scores, reported):
    subject, seen, ids = tracker(), [], set()
    for frame, score in enumerate(scores.split()):
        rows = [] if score == "-" else [(100, 100, float(score) / 10, 0)]
        update = subject.update(detections(*rows), frame / 10)
        seen.append("x" if len(update.tracks) else ".")
        ids |= set(update.tracks.track_id.tolist())
    assert " ".join(seen) == reported
    assert len(ids) <= 1


def test_one_frame_confirms_where_the_options_say_so():
    update = tracker(confirm_frames=1).update(detections((100, 100, 0.9, 0)), 0.0)
    assert len(update.tracks) == len(update.began) == 1


def test_classes_do_not_meet():
    subject = tracker(confirm_frames=1)
    first = subject.update(detections((100, 100, 0.9, 0)), 0.0)
    second = subject.update(detections((100, 100, 0.9, 1)), 0.1)
    assert ids_of(first.began) != ids_of(second.began)
    assert second.tracks.class_id.tolist() == [1]


def test_a_low_detection_does_not_take_the_track_of_a_high_one():
    subject = tracker(confirm_frames=1)
    subject.update(detections((100, 100, 0.9, 0)), 0.0)
    update = subject.update(detections((100, 100, 0.3, 0), (108, 100, 0.9, 0)), 0.1)
    assert update.tracks.xyxy[:, 0].tolist() == [88]


def test_a_confirmed_track_is_served_before_a_tentative_one():
    subject = tracker()
    subject.update(detections((100, 100, 0.9, 0)), 0.0)
    old = ids_of(subject.update(detections((100, 100, 0.9, 0)), 0.1).began)
    subject.update(detections((100, 100, 0.9, 0), (112, 100, 0.9, 0)), 0.2)
    update = subject.update(detections((111, 100, 0.9, 0)), 0.3)
    assert update.tracks.track_id.tolist() == old


# --- life -------------------------------------------------------------------------------------


def test_an_end_tells_the_last_box_and_the_time_between_first_and_last_detection():
    subject = tracker(max_missed_s=0.5)
    for frame in range(4):
        subject.update(detections((100 + frame, 100, 0.9, 2)), frame / 10)
    ends = [subject.update(detections(), frame / 10).ended for frame in range(4, 12)]
    assert [len(ended) for ended in ends] == [0, 0, 0, 0, 0, 1, 0, 0]  # 0.9 s - 0.3 s > 0.5 s
    (change,) = ends[5]
    assert change.change is TrackEventType.ENDED
    assert change.xyxy == (83, 60, 123, 140)
    assert change.score == pytest.approx(0.9)
    assert change.class_id == 2
    assert change.dwell_s == pytest.approx(0.3)


def test_age_counts_frames():
    subject = tracker()
    for frame in range(5):
        rows = [] if frame == 3 else [(100, 100, 0.9, 0)]
        tracks = subject.update(detections(*rows), frame / 10).tracks
    assert tracks.age.tolist() == [4]


def test_reset_ends_everything_that_had_begun():
    subject = tracker()
    for frame in range(3):
        rows = [(100, 100, 0.9, 0)] + [(300, 100, 0.9, 0)] * (frame == 2)
        update = subject.update(detections(*rows), frame / 10)
    assert ids_of(subject.reset(1.0)) == update.tracks.track_id.tolist()
    assert subject.reset(1.1) == ()
    assert len(subject.update(detections((100, 100, 0.9, 0)), 1.2).tracks) == 0


def test_a_sudden_gap_ends_tracks():
    subject = tracker()
    for frame in range(5):
        update = subject.update(detections((100, 100, 0.9, 0)), frame / 10)
    after = subject.update(detections((100, 100, 0.9, 0)), 10.0)
    assert ids_of(after.ended) == update.tracks.track_id.tolist()
    assert len(after.tracks) == 0


def test_a_camera_slower_than_max_missed_keeps_its_tracks():
    subject, ids = tracker(max_missed_s=1.0), set()
    for frame in range(8):
        update = subject.update(detections((100, 100, 0.9, 0)), 4.0 * frame)
        ids |= set(update.tracks.track_id.tolist())
    assert len(ids) == 1
    assert not update.ended


@pytest.mark.parametrize(
    "at_s",
    [
        [5, 5, 5, 5],  # stands still
        [5, 4, 3, 2],  # goes back
        [5, -1e9, -1e9, -1e9],
        [5, math.nan, 5.1, 5.2],
        [5, 5.1, math.inf, 5.2],
    ],
)
def test_strange_time_loses_no_track_for_good(at_s):
    subject = tracker()
    for moment in (*at_s, 6.0, 6.1, 6.2):
        update = subject.update(detections((100, 100, 0.9, 0)), moment)
        assert np.isfinite(subject._rows["motion"]).all()
    assert len(update.tracks) == 1


def test_a_tracker_whose_clock_was_set_back_still_ends_tracks():
    subject = tracker()
    for moment in (1e6, 1e6 + 0.1, 1.0, 1.1):
        subject.update(detections((100, 100, 0.9, 0)), moment)
    ended = [subject.update(detections(), 1.1 + k / 10).ended for k in range(1, 20)]
    assert sum(map(len, ended)) == 1


def test_boxes_that_are_no_numbers_are_ignored():
    subject = tracker(confirm_frames=1)
    xyxy = np.array([[np.nan] * 4, [0, 0, np.inf, 5], [0, 0, 1e30, 1e30], [9, 9, 20, 20]])
    score = np.array([0.9, 0.9, 0.9, np.nan])
    broken = Detections(xyxy.astype("f4"), score.astype("f4"), np.zeros(4, "i4"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(subject.update(broken, 0.0).tracks) == 0


def test_an_empty_box_can_be_followed():
    subject = tracker()
    point = Detections(np.full((1, 4), 7, "f4"), np.ones(1, "f4"), np.zeros(1, "i4"))
    for frame in range(3):
        subject.update(point, frame / 10)  # no overlap is defined: tentative for ever, no error


# --- scenes -----------------------------------------------------------------------------------


def walk(start_xy, speed_xy, hidden=()):
    """A path: frame -> a row of detections, or none while hidden."""

    def at(frame, fps):
        if any(low <= frame / fps < high for low, high in hidden):
            return []
        x, y = (start_xy[k] + speed_xy[k] * frame / fps for k in (0, 1))
        return [(x, y, 0.9, 0)]

    return at


SCENES = {
    "two walkers cross, one above the other": [
        walk((0, 100), (80, 0)), walk((400, 112), (-80, 0)),
    ],
    "two walkers cross and one is hidden meanwhile": [
        walk((0, 100), (80, 0)), walk((400, 106), (-80, 0), [(2.2, 2.8)]),
    ],
    "a walker passes behind a pillar": [walk((0, 100), (60, 0), [(2.0, 3.0)])],
    "one overtakes another": [walk((0, 100), (100, 0)), walk((100, 120), (50, 0))],
    "one stands, one walks by": [walk((200, 100), (0, 0)), walk((0, 110), (90, 0))],
}  # fmt: skip


@pytest.mark.parametrize("fps", [5, 10, 25])
@pytest.mark.parametrize("name", SCENES)
def test_everybody_keeps_one_id(name, fps):
    paths, subject = SCENES[name], tracker()
    rng = np.random.default_rng(0)
    ids = [set() for _ in paths]
    for frame in range(5 * fps):
        rows = [path(frame, fps) for path in paths]
        noisy = [(x + rng.normal(0, 0.7), y, s, c) for row in rows for x, y, s, c in row]
        tracks = subject.update(detections(*noisy), frame / fps).tracks
        middle = (tracks.xyxy[:, :2] + tracks.xyxy[:, 2:]) / 2
        for found, row in zip(ids, rows, strict=True):
            if row and len(tracks):
                gap = np.abs(middle - row[0][:2]).sum(axis=1)
                if gap.min() < 4:
                    found.add(int(tracks.track_id[gap.argmin()]))
    assert [len(found) for found in ids] == [1] * len(paths)
    assert len(set.union(*ids)) == len(paths)


def test_what_hides_is_not_expected_to_shrink_away():
    def leaving(size_px):
        half = np.array([size_px / 2, size_px])
        xyxy = np.array([[*(200 - half), *(200 + half)]], np.float32)
        return Detections(xyxy, np.full(1, 0.9, "f4"), np.zeros(1, "i4"))

    subject = tracker()
    for frame in range(10):
        before = subject.update(leaving(120 - 8 * frame), frame / 10).tracks
    for frame in range(10, 20):
        subject.update(detections(), frame / 10)
    after = subject.update(leaving(44), 2.0).tracks
    assert after.track_id.tolist() == before.track_id.tolist()


def test_dropped_frames_do_not_break_a_track():
    subject, ids = tracker(), set()
    rng = np.random.default_rng(1)
    for frame in range(100):
        if frame > 3 and rng.random() < 0.6:
            continue
        update = subject.update(detections((3 * frame, 100, 0.9, 0)), frame / 25)
        ids |= set(update.tracks.track_id.tolist())
    assert len(ids) == 1


# --- what stands still ------------------------------------------------------------------------

STREET = ("person", "car", "bus")


def follow_street(script, **options):
    """One object per letter at 10 frames a second: c a car at rest, C one nearby, p a person."""
    places = {"c": (100, 100, 0.9, 1), "C": (160, 100, 0.9, 1), "p": (100, 100, 0.9, 0)}
    street = Tracker(Tracking(**options), itertools.count(1), STREET)
    told = []
    for n, letter in enumerate(script):
        update = street.update(detections(*[places[letter]] if letter in places else []), n * 0.1)
        told += [(event.change.value, event.track_id) for event in (*update.ended, *update.began)]
    return street, told


def test_a_parked_car_that_is_hidden_twice_stays_one_track():
    _, told = follow_street("c" * 60 + " " * 30 + "c" * 40 + " " * 30 + "c" * 80)
    assert told == [("began", 1)]


def test_two_people_after_each_other_in_one_place_are_two():
    _, told = follow_street("p" * 60 + " " * 60 + "p" * 60)
    assert told == [("began", 1), ("ended", 1), ("began", 2)]


def test_a_car_that_parks_beside_a_hidden_one_is_another():
    _, told = follow_street("c" * 60 + " " * 20 + "C" * 10)
    assert told == [("began", 1), ("began", 2)]


@pytest.mark.parametrize("other", [[(100, 100, 0.9, 2)], [(100, 100, 0.9, 1), (103, 100, 0.8, 2)]])
def test_a_vehicle_that_is_called_another_is_the_same(other):
    street = Tracker(Tracking(), itertools.count(1), STREET)
    told = []
    for row in range(120):
        found = [(100, 100, 0.9, 1)] if row % 40 < 20 else other
        update = street.update(detections(*found), row / 5)
        told += [event.track_id for event in (*update.ended, *update.began)]
    assert told == [1]


def test_a_vehicle_seen_in_part_and_then_whole_under_another_name_is_the_same():
    street = Tracker(Tracking(), itertools.count(1), STREET)
    whole, part = (100, 100, 300, 200), (100, 100, 200, 190)
    began = []
    for row in range(40):
        box, name = (part, 1) if row == 30 else (whole, 2) if row in (31, 32) else (whole, 1)
        found = Detections(np.float32([box]), np.float32([0.9]), np.int32([name]))
        began += ids_of(street.update(found, row / 5).began)
    assert began == [1]


def test_a_person_before_a_car_is_not_called_one():
    street = Tracker(Tracking(), itertools.count(1), STREET)
    began = []
    for row in range(40):
        found = [(100, 100, 0.9, 1), (100, 100, 0.9, 0)] if row > 20 else [(100, 100, 0.9, 1)]
        began += ids_of(street.update(detections(*found), row / 5).began)
    assert len(began) == 2


def test_a_box_around_a_part_of_a_parked_car_is_that_car_and_one_beside_it_is_not():
    def boxes_of(*rows):
        table = np.array(rows, np.float32)
        return Detections(
            table, np.full(len(rows), 0.9, np.float32), np.full(len(rows), 1, np.int32)
        )

    street = Tracker(Tracking(), itertools.count(1), STREET)
    whole, part, beside = (100, 100, 300, 200), (100, 100, 200, 200), (320, 100, 500, 200)
    began = []
    for row in range(60):
        found = [whole] if row < 25 else [whole, part] if row < 40 else [whole, beside]
        began += ids_of(street.update(boxes_of(*found), row / 5).began)
    assert len(began) == 2


def test_what_stood_still_for_a_second_is_not_waited_for_for_minutes():
    _, told = follow_street("c" * 10 + " " * 30)
    assert told == [("began", 1), ("ended", 1)]


def test_max_missed_s_may_be_given_for_a_class():
    script = "p" * 10 + " " * 20 + "p" * 10
    assert follow_street(script)[1] == [("began", 1), ("ended", 1), ("began", 2)]
    assert follow_street(script, max_missed_s={"person": 5})[1] == [("began", 1)]
    assert follow_street(script, max_missed_s={"bus": 5})[1][1] == ("ended", 1)


@pytest.mark.parametrize("key", ["max_missed_s", "still_max_missed_s"])
def test_a_limit_for_an_unknown_label_is_refused(key):
    with pytest.raises(ConfigError, match=f"tracking.{key}: the model does not know .* 'tram'"):
        Tracker(Tracking(**{key: {"tram": 5}}), itertools.count(1), STREET, "yard")


def test_a_silent_camera_ends_its_tracks_in_time_and_not_before():
    street, told = follow_street("c" * 60)
    assert told == [("began", 1)]
    assert street.expire(5.9 + 1.4) == ()
    (ended,) = street.expire(5.9 + 1.6)
    assert (ended.change, ended.track_id) == (TrackEventType.ENDED, 1)
    assert ended.dwell_s == pytest.approx(5.9)
    assert street.expire(99) == ()


def test_what_stood_still_gets_its_track_back_when_the_camera_is_back():
    street, _ = follow_street("c" * 100)
    assert ids_of(street.expire(9.9 + 3)) == [1]
    assert street.reset(9.9 + 5) == ()
    update = street.update(detections((100, 100, 0.9, 1)), 9.9 + 5)
    assert [(event.change, event.track_id) for event in update.began] == [(TrackEventType.BEGAN, 1)]
    assert update.tracks.track_id.tolist() == [1]
    assert street.update(detections((100, 100, 0.9, 1)), 9.9 + 5.1).began == ()


def test_what_stood_still_is_another_after_too_long_or_when_the_camera_was_turned():
    for since_s, moved in ((200, False), (5, True)):
        street, _ = follow_street("c" * 100)
        assert ids_of(street.reset(9.9 + since_s, moved=moved)) == [1]
        street.update(detections((100, 100, 0.9, 1)), 9.9 + since_s)
        assert ids_of(street.update(detections((100, 100, 0.9, 1)), 10 + since_s).began) == [2]


def test_another_tracker_goes_on_with_the_tracks():
    street, _ = follow_street("c" * 10)
    other = Tracker(Tracking(confirm_frames=3), itertools.count(50), STREET)
    other.take_over(street)
    update = other.update(detections((100, 100, 0.9, 1)), 1.0)
    assert update.began == ()
    assert update.tracks.track_id.tolist() == [1]


# --- frames that nobody looked at ---------------------------------------------------------------


CAR = 1


def watch_car(seconds=5.0, extra=()):
    """A tracker that has seen a car stand for some seconds at 5 frames per second."""
    watched = Tracker(
        Tracking(still_max_missed_s={"car": 120}), itertools.count(1), ("person", "car", "bus")
    )
    for row in range(round(seconds * 5)):
        watched.update(detections((100, 100, 0.9, CAR), *extra), row / 5)
    return watched


def test_only_what_stands_still_and_may_needs_no_looks():
    assert not tracker().needs_looks()
    assert watch_car(2.0).needs_looks()  # it has only just stopped
    assert not watch_car(5.0).needs_looks()
    assert watch_car(5.0, extra=[(300, 100, 0.9, 0)]).needs_looks()  # somebody sits there


def test_a_car_that_is_found_elsewhere_is_looked_at_until_it_is_known_to_stand_again():
    watched = watch_car(20.0)
    assert not watched.needs_looks()
    watched.update(detections((130, 100, 0.9, CAR)), 30.0)
    assert watched.needs_looks()  # it may be driving off too slowly to be seen moving
    for row in range(30):
        watched.update(detections((130, 100, 0.9, CAR)), 30.2 + row / 5)
    assert not watched.needs_looks()


def test_what_stood_still_is_there_as_long_as_nobody_looks():
    watched = watch_car()
    for row in range(1000):
        update = watched.coast(5 + row / 5)
        assert update.tracks.track_id.tolist() == [1]
        assert not update.ended
    assert not watched.update(detections((100, 100, 0.9, CAR)), 206.0).began
    assert watched.update(detections(), 206.2).ended == ()
    assert ids_of(watched.coast(206.4 + 119).ended) == []  # hidden, and out of time
    assert ids_of(watched.coast(206.4 + 121).ended) == [1]


def test_time_that_steps_back_while_nobody_looks_counts_as_zero():
    watched = watch_car()
    assert watched.coast(-100.0).tracks.track_id.tolist() == [1]
    assert watched.coast(math.nan).tracks.track_id.tolist() == [1]
