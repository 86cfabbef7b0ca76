"""The pipeline: a batch may hold several frames of one camera, which are followed in order."""

import itertools

import numpy as np

from edge.config import Camera, Zone
from edge.pipeline import Pipeline
from edge.types import Detections, Frame, RgbPicture
from edge.vision.zoom import NO_WINDOWS

PICTURE = RgbPicture(np.zeros((100, 200, 3), np.uint8))


class Walker:
    """Finds one person who walks ten pixels a frame."""

    name, sha256, classes = "walker", "0" * 64, ("person",)

    def detect(self, frames):
        return [
            Detections(
                np.float32([[10 * f.seq, 10, 10 * f.seq + 40, 90]]),
                np.float32([0.9]),
                np.int32([0]),
            )
            for f in frames
        ]


class Recognizer:
    """Writes down which cameras it looks at together."""

    def __init__(self):
        self.turns = []

    def forget_other_cameras(self, cameras):
        pass

    def look(self, events):
        self.turns.append([event.frame.camera for event in events])
        return list(events)


def frames(camera, count):
    return [Frame(camera, 1, n, 0.1 * n, 0.1 * n, PICTURE) for n in range(count)]


def pipeline(recognizer=None):
    made = Pipeline(Walker(), None, itertools.count(1), recognizer)
    made.watch([Camera(name=name, source={"kind": "x"}) for name in ("file", "live")])
    return made


def test_frames_of_one_camera_give_the_same_tracks_together_as_one_by_one():
    together = pipeline().step(frames("file", 6))
    alone = pipeline()
    one_by_one = [event for frame in frames("file", 6) for event in alone.step([frame])]
    assert [e.frame.seq for e in together] == list(range(6))
    for a, b in zip(together, one_by_one, strict=True):
        np.testing.assert_array_equal(a.tracks.track_id, b.tracks.track_id)
        np.testing.assert_array_equal(a.tracks.xyxy, b.tracks.xyxy)
        assert a.changes == b.changes
    assert together[-1].tracks.track_id.tolist() == [1]


def test_the_recognizer_sees_each_camera_once_a_turn_and_the_order_stays():
    recognizer = Recognizer()
    events = pipeline(recognizer).step(frames("file", 3) + frames("live", 1))
    assert recognizer.turns == [["file"], ["file"], ["file", "live"]]
    assert [(e.frame.camera, e.frame.seq) for e in events] == [
        ("file", 0), ("file", 1), ("file", 2), ("live", 0),
    ]  # fmt: skip


# --- behind the motion gate -----------------------------------------------------------------------


class Parked:
    """Finds a car that stands there, and counts how many frames it looked at."""

    name, sha256, classes = "parked", "0" * 64, ("person", "car")

    def __init__(self):
        self.looked = []

    def detect(self, frames):
        self.looked += [f.seq for f in frames]
        car = (np.float32([[40, 10, 90, 60]]), np.float32([0.9]), np.int32([1]))
        return [Detections(*car) for _ in frames]


def test_of_a_parked_car_the_tracks_and_zones_go_on_without_looks():
    zone = Zone(name="bay", polygon=((0, 0), (1, 0), (1, 1), (0, 1)), dwell_s=30)
    detector = Parked()
    made = Pipeline(detector, None, itertools.count(1))
    made.watch([Camera(name="lot", source={"kind": "x"}, zones=(zone,))])
    results = [
        made.step([Frame("lot", 1, n, 0.2 * n, 0.2 * n, PICTURE, moving=n == 0)])[0]
        for n in range(300)
    ]
    assert [str(r.look) for r in results[:3]] == ["motion", "followed", "followed"]
    asleep = results[25:]
    assert {str(r.look) for r in asleep} == {"none", "interval"}
    assert all(r.tracks.track_id.tolist() == [1] and r.zones == (("bay",),) for r in asleep)
    changes = [str(c.change) for r in results for c in r.changes]
    assert changes == ["began", "entered", "dwelled"]
    assert len(detector.looked) == sum(r.looked for r in results) < 30


def test_a_batch_of_which_some_frames_are_looked_at_keeps_its_order():
    detector = Parked()
    made = Pipeline(detector, None, itertools.count(1))
    names = ["a", "b", "c"]
    made.watch([Camera(name=name, source={"kind": "x"}) for name in names])
    made.step([Frame(name, 1, 0, 0, 0, PICTURE, moving=True) for name in names])
    moving = {"a": True, "b": False, "c": True}
    made.watch([Camera(name=name, source={"kind": "x"}) for name in names])  # gates begin anew
    results = made.step([Frame(name, 1, 1, 1, 1, PICTURE, moving=moving[name]) for name in names])
    assert [(r.frame.camera, str(r.look)) for r in results] == [
        ("a", "motion"), ("b", "interval"), ("c", "motion"),
    ]  # fmt: skip


class Speck:
    """Finds white pixels, as boxes, in pictures no larger than its input."""

    name, sha256, classes, input_wh = "speck", "0" * 64, ("person",), (40, 20)

    def __init__(self):
        self.batches = []

    def detect(self, frames):
        self.batches.append([f.size_wh for f in frames])
        return [self._find(f) for f in frames]

    def _find(self, frame):
        y, x = np.nonzero(frame.picture.rgb[..., 0])
        if frame.size_wh != self.input_wh or not len(x):
            return Detections.empty()
        box = np.float32([[x.min(), y.min(), x.max() + 1, y.max() + 1]])
        return Detections(box, np.float32([0.9]), np.int32([0]))


def test_a_camera_that_zooms_finds_what_is_too_small_in_the_whole_picture():
    rgb = np.zeros((100, 200, 3), np.uint8)
    rgb[72:76, 150:153] = 255
    picture, regions = RgbPicture(rgb), np.float32([[150, 72, 153, 76]])
    detector = Speck()
    made = Pipeline(detector, None, itertools.count(1))
    made.watch([Camera(name="near", source={"kind": "x"}, zoom=True),
                Camera(name="far", source={"kind": "x"})])  # fmt: skip
    for n in range(3):  # nothing moves in the last one, but somebody is followed
        some = regions if n < 2 else NO_WINDOWS
        near, far = made.step(
            [Frame(name, 1, n, n / 5, n / 5, picture, regions=some) for name in ("near", "far")]
        )
    np.testing.assert_allclose(near.tracks.xyxy, regions)
    assert not len(far.tracks)
    assert detector.batches == [[(200, 100), (200, 100), (40, 20)]] * 3
