"""Lives of tracks on the wire: what began ends, who entered leaves, whatever a camera does."""

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config import Batching, Camera, Line, Tracking, Zone
from edge.pipeline import Pipeline
from edge.service.frame_queue import FrameQueue
from edge.service.health import HealthBoard
from edge.service.inference import BatchTimer, InferencePool
from edge.service.metrics import Metrics
from edge.types import Detections, Frame, make_black
from edge.wire.message_builder import MessageBuilder

CLASSES = ("person", "car")
PLACES = np.float32([[10, 10, 50, 90], [60, 10, 100, 90], [110, 10, 190, 60]])
KINDS = ("person", "person", "car")  # of what stands in each place
VOCABULARIES = (CLASSES, ("car", "person"), ("person",), ("dog", "person", "bus"))
LEFT_HALF = Zone(name="left", polygon=((0, 0), (0.5, 0), (0.5, 1), (0, 1)))
WHOLE = Zone(name="all", polygon=((0, 0), (1, 0), (1, 1), (0, 1)), dwell_s=2)
SILL = Line(name="sill", a=(0.3, 1), b=(0.3, 0))
LAYOUTS = (
    {"zones": (WHOLE,)},
    {"zones": (LEFT_HALF, WHOLE), "lines": (SILL,)},
    {"zones": (), "tracking": Tracking(max_missed_s={"person": 0.5})},
    {"labels": ("person",), "zones": (LEFT_HALF,)},
)
STEP_S = 0.2
NAMES = ("door", "yard")


class Script:
    """A detector that finds what the test put into each frame, as far as it has classes for it."""

    name, sha256 = "script", "0" * 64

    def __init__(self, classes=CLASSES, places=None):
        self.classes = classes
        self.places = {} if places is None else places

    def detect(self, frames):
        return [self._find(self.places[frame.camera, frame.epoch, frame.seq]) for frame in frames]

    def _find(self, places):
        rows = [row for row in sorted(places) if KINDS[row] in self.classes]
        kinds = np.array([self.classes.index(KINDS[row]) for row in rows], np.int32)
        return Detections(PLACES[rows], np.full(len(rows), 0.9, np.float32), kinds)


@dataclass
class Node:
    """The part of a daemon that frames pass through, on a clock of its own."""

    now_s: float = 1000.0
    told: list = field(default_factory=list)  # (clock, body of a tracks message)
    results: list = field(default_factory=list)
    has_people: list = field(default_factory=list)  # for each result

    def __post_init__(self):
        self.script = Script()
        self.frames = FrameQueue(lambda: self.now_s)
        self.pipeline = Pipeline(self.script, None, itertools.count(1))
        self.builder = MessageBuilder("n", "b", CLASSES, "script", "0" * 64)
        self.pool = InferencePool(
            self.pipeline, self.frames, Batching(), 1, lambda: True,
            self.publish,
            lambda losses: [self.tell(self.builder.build_loss(loss)) for loss in losses],
            Metrics(), HealthBoard(), 2,
        )  # fmt: skip
        self.cameras = {name: self.make_camera(name, 0) for name in NAMES}
        self.last = dict.fromkeys(NAMES, (1, 0))
        self.pipeline.watch(list(self.cameras.values()))

    def make_camera(self, name, layout):
        return Camera(name=name, source={"kind": "x"}, **LAYOUTS[layout])

    def tell(self, messages):
        self.told += [(self.now_s, m.body) for m in messages if m.topic.startswith("v1/tracks/")]

    def publish(self, results):
        self.results += results
        person = self.script.classes.index("person")
        for result in results:
            self.has_people.append(person in result.tracks.class_id)
            self.tell(self.builder.build(result))

    def show(self, name, places, size_wh=(200, 100), moving=None):
        """A frame of a camera, processed at once."""
        epoch, seq = self.last[name]
        self.last[name] = (epoch, seq + 1)
        self.script.places[name, epoch, seq] = places
        frame = Frame(name, epoch, seq, self.now_s, self.now_s, make_black(size_wh))
        self.frames.put(replace(frame, moving=moving))
        if frames := self.frames.take(2, 0, 0):
            self.pool._infer(frames)
            self.frames.done(frames)

    def watch(self, name, places):
        """Frames for two seconds."""
        for _ in range(8):
            self.now_s += STEP_S
            self.show(name, places)

    def move(self, name, places):
        """A frame in which something moves."""
        self.show(name, places, moving=True)

    def rest(self, name, places):
        """Frames for fifteen seconds in which nothing moves, whatever is in them."""
        for _ in range(60):
            self.now_s += 0.25
            self.show(name, places, moving=False)

    def turn(self, name, places):
        """A connection that gives pictures of another size."""
        self.reconnect(name)
        self.show(name, places, (100, 200))

    def finish(self, name, _=None):
        """The end of a file."""
        self.frames.finish(name)

    def reconnect(self, name, _=None):
        """A loss that is noticed; the next frame has another epoch."""
        self.frames.lose(name)
        self.last[name] = (self.last[name][0] + 1, 0)

    def silence(self, _, seconds):
        """Nothing from any camera, looked at by the inference workers four times a second."""
        for _ in range(round(seconds / 0.25)):
            self.now_s += 0.25
            self.pool.end_silent_tracks()

    def end(self, name):
        """What the daemon does when a camera will give no more frames."""
        assert self.frames.claim(name, 0)
        if loss := self.pipeline.expire(name):
            self.tell(self.builder.build_loss(loss))
        self.frames.release([name])

    def remove(self, name, _=None):
        if name in self.cameras:
            self.frames.forget(name)
            self.end(name)
            del self.cameras[name]
            self.pipeline.watch(list(self.cameras.values()))

    def exchange(self, _, vocabulary):
        """Another detector, with other classes."""
        self.script = Script(VOCABULARIES[vocabulary], self.script.places)
        for loss in self.pipeline.exchange(self.script, None, None):
            self.tell(self.builder.build_loss(loss))
        self.builder.use_model(self.script.classes, "script", "0" * 64)
        self.pipeline.watch(list(self.cameras.values()))

    def configure(self, name, layout):
        new = name not in self.cameras
        self.cameras[name] = self.make_camera(name, layout)
        self.pipeline.watch(list(self.cameras.values()), frozenset([name] if new else []))


SEEN = st.sets(st.integers(0, len(PLACES) - 1))
CAMERA = st.sampled_from(NAMES)
EVENT = st.one_of(
    st.tuples(st.just("show"), CAMERA, SEEN),
    st.tuples(st.just("show"), CAMERA, SEEN),
    st.tuples(st.just("watch"), CAMERA, SEEN),
    st.tuples(st.just("move"), CAMERA, SEEN),
    st.tuples(st.just("rest"), CAMERA, SEEN),
    st.tuples(st.just("turn"), CAMERA, SEEN),
    st.tuples(st.just("reconnect"), CAMERA, st.none()),
    st.tuples(st.just("finish"), CAMERA, st.none()),
    st.tuples(st.just("remove"), CAMERA, st.none()),
    st.tuples(st.just("configure"), CAMERA, st.integers(0, len(LAYOUTS) - 1)),
    st.tuples(st.just("exchange"), CAMERA, st.integers(0, len(VOCABULARIES) - 1)),
    st.tuples(st.just("silence"), CAMERA, st.sampled_from([0.25, 1.0, 1.75, 5.0, 200.0])),
)


def play(node, events):
    for what, name, detail in events:
        node.now_s += STEP_S
        getattr(node, what)(name, detail)
    for name in node.cameras:
        node.end(name)


@given(st.lists(EVENT, max_size=40))
@settings(max_examples=120, deadline=None)
def test_every_track_ends_and_every_zone_is_left_under_any_schedule(events):
    node = Node()
    play(node, events)
    alive, inside, labels = {}, {}, {}
    for _, body in node.told:
        key = body.camera, body.track
        assert labels.setdefault(key, body.label) == body.label
        if body.change == "began":
            assert key not in alive
            alive[key] = body.captured_at
        elif body.change == "ended":
            began_at = alive.pop(key)
            assert body.captured_at >= began_at
            assert not [zone for (*track, zone) in inside if tuple(track) == key]
        else:
            assert key in alive, "an event of a track that does not live"
        if body.change == "entered":
            assert (*key, body.place) not in inside
            inside[(*key, body.place)] = body.captured_at
        elif body.change == "left":
            since = inside.pop((*key, body.place))
            assert body.dwell_s <= body.captured_at - since + 1e-6
    assert not alive
    assert not inside


@given(st.lists(EVENT, max_size=40))
@settings(max_examples=60, deadline=None)
def test_no_camera_sleeps_for_too_long_or_while_somebody_is_there(events):
    node = Node()
    play(node, events)
    looked_s, awake = {}, {}
    for result, has_people in zip(node.results, node.has_people, strict=True):
        frame = result.frame
        connection = frame.camera, frame.epoch
        if result.looked:
            looked_s[connection] = frame.monotonic_s
            awake[connection] = has_people
            continue
        assert frame.monotonic_s - looked_s[connection] < 10  # look_every_s
        assert not awake[connection]
        assert not has_people
        assert not result.faces
        assert frame.moving is False


@given(st.lists(EVENT, max_size=25), CAMERA, SEEN)
@settings(max_examples=40, deadline=None)
def test_a_lost_camera_ends_its_tracks_in_time_and_not_before(events, name, seen):
    node = Node()
    play(node, events)
    node.configure(name, 0)
    node.exchange(None, 0)
    node.reconnect(name)
    for _ in range(10):
        node.now_s += STEP_S
        node.show(name, seen)
    last_s, before = node.now_s, len(node.told)
    node.reconnect(name)
    node.silence(None, 1.25)
    assert node.told[before:] == []
    node.silence(None, 0.75)
    told = node.told[before:]
    assert sorted(body.change for _, body in told) == sorted(["ended", "left"] * len(seen))
    for told_s, body in told:
        assert 1.5 <= told_s - last_s <= 2.0  # max_missed_s and a look four times a second
        assert body.captured_at == last_s
        assert (body.epoch, body.frame) == (node.last[name][0] - 1, 9)


def test_a_silent_camera_that_was_not_told_to_be_lost_ends_its_tracks_too():
    node = Node()
    for _ in range(5):
        node.now_s += STEP_S
        node.show("door", {0})
    node.silence(None, 2)
    assert [body.change for _, body in node.told] == ["began", "entered", "left", "ended"]


def test_a_slow_camera_is_not_lost_between_two_frames():
    node = Node()
    for _ in range(5):
        node.show("door", {0})
        node.silence(None, 4)
    assert [body.change for _, body in node.told] == ["began", "entered", "dwelled"]


def test_the_last_frames_of_a_file_are_looked_at_before_its_tracks_end():
    node = Node()
    for n in range(3):
        node.script.places["door", 1, n] = {0}
        node.frames.put(Frame("door", 1, n, node.now_s, node.now_s, make_black((200, 100))))
        node.frames.finish("door")
        node.pool.end_silent_tracks()
        assert node.told == []
        frames = node.frames.take(2, 0, 0)
        node.pool._infer(frames)
        node.pool.end_silent_tracks()  # as another worker would
        node.frames.done(frames)
        node.told.clear()
    node.pool.end_silent_tracks()
    assert [body.change for _, body in node.told] == ["left", "ended"]


@pytest.mark.parametrize("layout", range(len(LAYOUTS)))
def test_a_changed_zone_or_threshold_keeps_tracks(layout):
    node = Node()
    for _ in range(5):
        node.now_s += STEP_S
        node.show("door", {0})
    node.configure("door", layout)
    for _ in range(5):
        node.now_s += STEP_S
        node.show("door", {0})
    assert {body.track for _, body in node.told} == {1}
    assert "ended" not in [body.change for _, body in node.told]


@pytest.mark.parametrize("vocabulary", range(len(VOCABULARIES)))
def test_another_detector_keeps_the_tracks_of_classes_that_it_has(vocabulary):
    node = Node()
    node.watch("door", {0, 2})
    node.exchange(None, vocabulary)
    node.watch("door", {0, 2})
    has_cars = "car" in VOCABULARIES[vocabulary]
    lives = {}
    for _, body in node.told:
        lives.setdefault(body.label, []).append((body.track, body.change))
    assert lives["person"] == [(1, "began"), (1, "entered"), (1, "dwelled")]
    assert lives["car"] == [(2, "began"), (2, "entered")] + (
        [(2, "dwelled")] if has_cars else [(2, "left"), (2, "ended")]
    )
    assert lives.keys() == {"person", "car"}


@pytest.mark.parametrize("change", ["exchange", "configure"])
def test_frames_that_are_passed_over_while_a_reload_is_put_in_place_end_no_track(change):
    node = Node()
    node.watch("door", {0})
    getattr(node, change)("door", 0)
    node.now_s += 4
    node.watch("door", {0})
    assert "ended" not in [body.change for _, body in node.told]
    assert {body.track for _, body in node.told} == {1}
    node.now_s += 4  # a gap of the camera itself
    node.watch("door", {0})
    assert {body.track for _, body in node.told} == {1, 2}


def test_batches_of_slow_frames_end_before_the_watchdog_gives_up():
    node = Node()
    node.pool.camera_count = 16
    assert node.pool._max_cameras() == 1  # nobody knows yet how slow they are
    for frame_s, cameras in [(0.01, 16), (0.5, 4), (5.0, 1)]:
        node.pool.timer = BatchTimer()
        node.pool.timer.record(frame_s, 1)
        assert node.pool._max_cameras() == cameras
        assert node.pool._max_frames() >= cameras
        node.pool.batching = Batching(max_batch_size=8)
        assert node.pool._max_cameras() == min(cameras, 8)
        assert node.pool._max_frames() <= 8
        node.pool.batching = Batching()
