"""A camera's loop: epochs, states, backoff, pace; sources are made from functions."""

import contextlib
import itertools
import math
import random
import threading
import time

import numpy as np
import pytest

from edge.config import Camera
from edge.errors import SourceDeniedError, SourceEndedError, SourceError
from edge.frame_rate_limiter import FrameRateLimiter
from edge.service import camera_pool
from edge.service.backoff import Backoff
from edge.service.camera_pool import CameraPool
from edge.service.cameras import CameraLoop
from edge.service.frame_queue import FrameQueue
from edge.service.freeze_detector import FreezeDetector
from edge.service.metrics import Metrics
from edge.service.sleep import Sleep
from edge.service.workers import Worker, WorkerGroup
from edge.types import (
    CameraState,
    Capture,
    Decoding,
    Faces,
    Frame,
    FrameResult,
    Look,
    RgbPicture,
    StatusReason,
    Tracks,
)


def capture(at_s: float = 0.0, value: int = 0) -> Capture:
    ramp = np.add.outer(np.arange(36), 2 * np.arange(64))[:, :, None] + (value, value, value)
    return Capture(RgbPicture(ramp.astype(np.uint8)), 1e9 + at_s, at_s)


class FunctionSource:
    """A source whose connections are made by a function."""

    address = "made of a function"

    def __init__(self, connections, every_frame=False):
        self._connections = iter(connections)
        self.every_frame = every_frame

    @contextlib.contextmanager
    def connect(self, stop):
        yield next(self._connections)(stop)


class Quick(Backoff):
    """Waits hardly at all and remembers which delays were asked for."""

    def __init__(self):
        super().__init__(random.Random(1), short_s=0.01, max_s=0.02)
        self.asked = []

    def short(self):
        self.asked.append("short")
        return super().short()

    def growing(self):
        self.asked.append("growing")
        return super().growing()


def run(connections, camera=None, every_frame=False):
    """Run a camera to its end; its frames, its states, its backoff and its metrics."""
    camera = camera or Camera(name="door", source={"kind": "x"}, fps=1000)
    metrics, slots, statuses, frames = Metrics(), FrameQueue(), [], []
    put = slots.put

    def keep(frame):
        frames.append(frame)
        return put(frame)

    slots.put = keep
    backoff = Quick()
    source = FunctionSource(connections, every_frame)
    loop = CameraLoop(
        camera, source, slots, itertools.count(100), metrics.camera("door"),
        statuses.append, backoff,
    )  # fmt: skip
    died = []
    worker = Worker("door", loop.run, died.append)
    worker.start()
    assert worker.join(10)
    assert not died
    return frames, statuses, backoff, metrics.render().decode()


def fails(error):
    def connection(stop):
        raise error

    return connection


def breaks_after(count, error):
    def connection(stop):
        for n in range(count):
            yield capture(n, n)
        raise error

    return connection


def ends_after(count):
    def connection(stop):
        for n in range(count):
            yield capture(n, n)

    return connection


def test_a_file_that_ends_is_offline_and_its_worker_is_not_dead():
    frames, statuses, _, _ = run([ends_after(3)])
    assert [f.seq for f in frames] == [0, 1, 2]
    assert [(s.state, s.reason) for s in statuses] == [
        (CameraState.OFFLINE, "connecting"),
        (CameraState.ONLINE, "delivers"),
        (CameraState.OFFLINE, "end of file"),
    ]


def test_a_camera_that_drops_comes_back_with_a_new_epoch():
    broken = SourceError("the stream ended")
    frames, statuses, backoff, text = run([breaks_after(2, broken), ends_after(1)])
    assert [f.epoch for f in frames] == [100, 100, 101]
    assert [s.state for s in statuses[1:4]] == [
        CameraState.ONLINE,
        CameraState.OFFLINE,
        CameraState.ONLINE,
    ]
    assert backoff.asked == ["short"]
    assert 'edge_camera_reconnects_total{camera="door"} 1.0' in text


def test_a_camera_that_is_absent_is_offline_once_and_asked_again():
    absent = fails(SourceError("nobody answers"))
    _, statuses, backoff, _ = run([absent, absent, absent, ends_after(1)])
    assert [s.reason for s in statuses].count("nobody answers") == 1
    assert backoff.asked == ["short"] * 3


def test_a_camera_that_refuses_us_is_asked_ever_more_rarely():
    refused = fails(SourceDeniedError("wrong password"))
    _, _, backoff, _ = run([refused, refused, ends_after(1)])
    assert backoff.asked == ["growing", "growing"]


def test_an_unforeseen_error_kills_the_worker():
    died = []
    loop = CameraLoop(
        Camera(name="door", source={"kind": "x"}), FunctionSource([fails(KeyError("bug"))]),
        FrameQueue(), itertools.count(1), Metrics().camera("door"), lambda s: None, Quick(),
    )  # fmt: skip
    worker = Worker("door", loop.run, died.append)
    worker.start()
    assert worker.join(5)
    assert died == [worker]


def test_stop_ends_a_camera_that_waits_to_connect_again():
    loop = CameraLoop(
        Camera(name="door", source={"kind": "x"}),
        FunctionSource(itertools.repeat(fails(SourceError("away")))),
        FrameQueue(), itertools.count(1), Metrics().camera("door"), lambda s: None,
        Backoff(random.Random(1), short_s=60),
    )  # fmt: skip
    worker = Worker("door", loop.run, lambda w: None)
    worker.start()
    time.sleep(0.05)
    worker.stop.set()
    assert worker.join(5)


def test_replaced_and_not_due_frames_are_counted():
    camera = Camera(name="door", source={"kind": "x"}, fps=0.5)
    frames, _, _, text = run([ends_after(6)], camera)
    assert [f.seq for f in frames] == [0, 2, 4]
    assert 'edge_frames_dropped_total{camera="door",reason="not_due"} 3.0' in text
    assert 'edge_frames_dropped_total{camera="door",reason="replaced"} 2.0' in text
    assert 'edge_capture_frames_total{camera="door"} 6.0' in text


def test_a_repeated_picture_is_frozen_until_it_moves():
    def connection(stop):
        for n in range(8):
            yield capture(n, 7)
        yield capture(8, 8)

    camera = Camera(name="door", source={"kind": "x"}, fps=1000, frozen_after_s=5)
    _, statuses, _, _ = run([connection], camera)
    assert [s.state for s in statuses] == [
        CameraState.OFFLINE, CameraState.ONLINE, CameraState.FROZEN,
        CameraState.ONLINE, CameraState.OFFLINE,
    ]  # fmt: skip


@pytest.mark.parametrize("coded", [False, True])
def test_a_camera_that_changes_its_size_is_compared_anew(coded):
    """Sizes whose samples have as many patches, and others."""
    sizes = [(640, 480), (176, 144), (640, 480), (9, 9), (1, 1), (640, 480)]
    detector, at_s = FreezeDetector(10), 0.0
    for width, height in sizes * 3:
        for frame in range(6):
            at_s += 0.5
            rgb = np.full((height, width, 3), 90, np.uint8)
            key = frame == 0 or not coded
            assert not detector.is_frozen(Capture(RgbPicture(rgb), at_s, at_s, key_frame=key))
    for _ in range(40):
        at_s += 0.5
        frozen = detector.is_frozen(Capture(RgbPicture(rgb), at_s, at_s))
    assert frozen


def test_a_recording_that_loops_is_never_frozen():
    same = [capture(at_s) for at_s in range(60)]
    table = {"kind": "video_file", "path": "x", "loop": True}
    looping = Camera(name="door", source=table, frozen_after_s=5)
    _, states, _, _ = run([lambda _: iter(same)], looping)
    assert CameraState.ONLINE in [status.state for status in states]
    assert CameraState.FROZEN not in [status.state for status in states]


def test_a_still_watch_of_zero_seconds_never_says_frozen():
    still = FreezeDetector(0)
    assert not any(still.is_frozen(capture(n)) for n in range(100))


@pytest.mark.parametrize(
    ("source_fps", "fps", "looked_at"),
    [
        (25, 10, 100),  # a grid of due times, not every third frame
        (30, 30, 300),
        (10, 30, 100),  # never more than there are
        (30, 1, 10),
    ],
)
def test_pace_gives_the_rate_that_was_asked_for(source_fps, fps, looked_at):
    pace = FrameRateLimiter(fps)
    due = sum(pace.is_due(n / source_fps) for n in range(10 * source_fps))
    assert abs(due - looked_at) <= 1


def test_pace_does_not_hurry_after_a_silence():
    pace = FrameRateLimiter(10)
    assert pace.is_due(0)
    assert pace.is_due(100)
    assert not pace.is_due(100.05)


def test_every_frame_of_an_evaluation_file_waits_for_its_turn():
    slots, seen, told = FrameQueue(), [], []
    source = FunctionSource([ends_after(20)], every_frame=True)
    loop = CameraLoop(
        Camera(name="door", source={"kind": "x"}, fps=1), source, slots, itertools.count(1),
        Metrics().camera("door"), lambda s: told.append((s.reason, len(seen))), Quick(),
    )  # fmt: skip
    worker = Worker("door", loop.run, lambda w: None)
    worker.start()
    while len(seen) < 20:
        taken = slots.take(1, 0, 1)
        time.sleep(0.05)  # as long as looking takes
        seen += [f.seq for f in taken]
        slots.done(taken)
    assert seen == list(range(20))
    assert worker.join(5)
    assert told[-1] == ("end of file", 20)


def test_a_camera_that_flaps_is_summed_up_and_asked_more_rarely():
    broken = SourceError("the stream ended")
    _, statuses, backoff, text = run([*[breaks_after(1, broken)] * 12, ends_after(0)])
    told = [s.reason_code for s in statuses]
    assert told.count(StatusReason.FLAPPING) == 1
    assert len(told) <= 2 + 2 * 4 + 2
    assert "flaps: 4 connections in 1 minute" in [s.reason.split(";")[0] for s in statuses]
    assert backoff.asked[:3] == ["short"] * 3
    assert backoff.asked[5:] == ["growing"] * 7
    assert 'edge_camera_flaps_total{camera="door"} 12.0' in text


def test_a_recording_that_is_damaged_is_told_once_and_not_read_again():
    damaged = SourceEndedError("a.mp4 is damaged: 1 packets or pictures beside 3 good frames")
    frames, statuses, backoff, _ = run([breaks_after(3, damaged)])
    assert len(frames) == 3
    assert backoff.asked == []
    assert (statuses[-1].state, statuses[-1].reason) == (CameraState.OFFLINE, str(damaged))
    assert statuses[-1].reason_code is StatusReason.END_OF_FILE


def test_frames_of_a_frozen_camera_are_marked_and_it_is_not_up():
    def connection(stop):
        for n in range(12):
            yield capture(n, 7)

    camera = Camera(name="door", source={"kind": "x"}, fps=1000, frozen_after_s=5)
    frames, statuses, _, _ = run([connection], camera)
    assert [frame.blind for frame in frames] == [False] * 5 + [True] * 7
    assert StatusReason.FROZEN_PICTURE in [s.reason_code for s in statuses]


def test_a_black_picture_is_blind_not_frozen():
    def connection(stop):
        for n in range(12):
            yield Capture(RgbPicture(np.full((36, 64, 3), 3, np.uint8)), 1e9 + n, n)

    camera = Camera(name="door", source={"kind": "x"}, fps=1000, frozen_after_s=5)
    frames, statuses, _, _ = run([connection], camera)
    states = [(s.state, s.reason_code) for s in statuses]
    assert (CameraState.BLIND, StatusReason.BLACK_PICTURE) in states
    assert CameraState.FROZEN not in [state for state, _ in states]
    assert frames[-1].blind


def test_a_camera_that_hangs_is_offline_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(camera_pool, "HANGS_AFTER_S", 0.3)
    released, told = threading.Event(), []

    def hangs(stop):
        released.wait(10)
        yield capture()

    def lives(stop):
        for n in itertools.count():
            if stop.wait(0.02):
                return
            yield capture(n / 50, n)

    pool = CameraPool(FrameQueue(), Metrics(), told.append, WorkerGroup(0.3))
    for name, connection in (("hung", hangs), ("good", lives)):
        pool.add(Camera(name=name, source={"kind": "x"}), FunctionSource([connection]))
    time.sleep(0.6)
    pool.check()
    hung = [s for s in told if s.reason_code is StatusReason.HANGS]
    assert [s.camera for s in hung] == ["hung"]
    assert [s.state for s in told if s.camera == "good"][-1] is CameraState.ONLINE
    released.set()
    pool.remove(["hung", "good"], time.monotonic() + 5)


def test_cameras_that_hang_are_removed_together_not_one_after_the_other():
    released = threading.Event()

    def hangs(stop):
        released.wait(20)
        yield capture()

    pool = CameraPool(FrameQueue(), Metrics(), lambda status: None)
    names = [f"hung-{n}" for n in range(40)]
    for name in names:
        pool.add(Camera(name=name, source={"kind": "x"}), FunctionSource([hangs]))
    workers = pool.workers
    began_s = time.monotonic()
    pool.remove(names, began_s + 0.3)
    waited_s = time.monotonic() - began_s
    assert all(worker.stop.is_set() for worker in workers)
    assert not pool.workers
    released.set()
    assert all(worker.join(5) for worker in workers)
    assert waited_s < 5, "one deadline for all of them, far above the noise of a busy machine"


@pytest.mark.parametrize(
    ("motion", "every_frame", "expected"),
    [
        ({}, False, [True, False, True]),
        ({}, True, [None, None, None]),
        ({"enabled": True}, True, [True, False, True]),
        ({"enabled": False}, False, [None, None, None]),
    ],
)
def test_motion_is_measured_where_it_is_asked_for(motion, every_frame, expected):
    def connection(stop):
        for at_s, value in ((0.0, 0), (1.0, 0), (2.0, 200)):
            yield capture(at_s, value)

    camera = Camera(name="door", source={"kind": "x"}, fps=1000, motion=motion)
    queued, queue = [], FrameQueue()
    queue.put = queue.put_when_free = lambda frame, *_: queued.append(frame)
    loop = CameraLoop(
        camera, FunctionSource([connection], every_frame), queue, itertools.count(1),
        Metrics().camera("door"), lambda status: None, Quick(),
    )  # fmt: skip
    worker = Worker("door", loop.run, lambda error: None)
    worker.start()
    assert worker.join(10)
    assert [frame.moving for frame in queued] == expected


class SparingSource(FunctionSource):
    """Remembers how much was to be decoded at each capture."""

    def __init__(self, connections):
        super().__init__(connections)
        self.decoding, self.max_fps = Decoding.ALL, math.inf


def make_result(look, at_s, followed=False):
    frame = Frame("door", 1, 0, at_s, at_s, capture().picture)
    return FrameResult(
        frame, Tracks.empty(), (), Faces.empty(), (), look=look, followed=followed
    )  # fmt: skip


@pytest.mark.parametrize(
    ("decode", "asleep", "expected"),
    [
        ("all", "all", ["all"] * 5),
        ("all", "no-loop-filter", ["all", "all", "no-loop-filter", "no-loop-filter", "all"]),
        ("all", "keyframes", ["all", "all", "keyframes", "keyframes", "all"]),
        ("no-loop-filter", "all", ["no-loop-filter"] * 5),
        ("keyframes", "no-loop-filter", ["keyframes"] * 5),
    ],
)
def test_less_is_decoded_while_a_camera_sleeps(decode, asleep, expected):
    """Two seconds after the last look for a cause it sleeps, and wakes when something moves."""
    seen = []

    def connection(stop):
        for at_s in (0.0, 1.0, 2.0, 3.0):
            loop.note(make_result(Look.INTERVAL if at_s else Look.MOTION, at_s - 0.5))
            seen.append(source.decoding)
            yield capture(at_s + 0.5)
        seen.append(source.decoding)
        yield capture(4.5, 200)
        seen.append(source.decoding)

    source = SparingSource([connection])
    camera = Camera(
        name="door", source={"kind": "x"}, decode=decode, motion={"decode_asleep": asleep}
    )
    loop = CameraLoop(
        camera, source, FrameQueue(), itertools.count(1), Metrics().camera("door"),
        lambda status: None, Quick(),
    )  # fmt: skip
    worker = Worker("door", loop.run, lambda error: None)
    worker.start()
    assert worker.join(10)
    assert seen[1:] == expected


@pytest.mark.parametrize(("fps", "max_fps"), [(10, 10), (5, 5), (1.5, 3), (0.25, 2)])
def test_a_source_is_asked_for_what_is_looked_at_and_for_what_judges_pictures(fps, max_fps):
    def connection(stop):
        yield Capture(capture().picture, 1e9, 0.0)
        yield Capture(capture().picture, 1e9 + 1, 1.0, passed=7)

    source, metrics = SparingSource([connection]), Metrics()
    camera = Camera(name="door", source={"kind": "x"}, fps=fps)
    loop = CameraLoop(
        camera, source, FrameQueue(), itertools.count(1), metrics.camera("door"),
        lambda status: None, Quick(),
    )  # fmt: skip
    worker = Worker("door", loop.run, lambda error: None)
    worker.start()
    assert worker.join(10)
    assert source.max_fps == max_fps
    text = metrics.render().decode()
    assert 'edge_capture_frames_total{camera="door"} 9.0' in text
    dropped = 8 if fps < 1 else 7
    assert f'edge_frames_dropped_total{{camera="door",reason="not_due"}} {dropped}.0' in text


@pytest.mark.parametrize("cause", [Look.MOTION, Look.FOLLOWED, Look.ALWAYS])
def test_a_camera_is_awake_while_there_is_a_cause_to_look(cause):
    sleep = Sleep()
    for at_s in range(10):
        sleep.note(make_result(Look.INTERVAL, at_s))
    assert sleep.is_asleep(9)
    sleep.note(make_result(cause, 10))
    assert not sleep.is_asleep(20)
    sleep.note(make_result(Look.NONE, 20))
    assert not sleep.is_asleep(21.9)
    assert sleep.is_asleep(22)
    sleep.note(make_result(Look.INTERVAL, 23, followed=True))
    assert not sleep.is_asleep(40)


def test_what_was_not_decoded_and_the_lag_are_counted():
    def connection(stop):
        picture = capture().picture
        yield Capture(picture, 1e9, 0.0)
        yield Capture(picture, 1e9 + 1, 1.0, undecoded=9, late=4, lag_s=1.5)

    _, _, _, text = run([connection])
    for line in (
        'edge_frames_dropped_total{camera="door",reason="undecoded"} 9.0',
        'edge_frames_dropped_total{camera="door",reason="late"} 4.0',
        'edge_camera_lag_seconds{camera="door"} 1.5',
        'edge_capture_frames_total{camera="door"} 2.0',
    ):
        assert line in text


def test_a_late_result_does_not_put_a_camera_to_sleep_that_something_woke():
    sleep = Sleep()
    sleep.note(make_result(Look.NONE, 0))
    assert sleep.is_asleep(5)
    sleep.wake(5.0)  # it moves in the newest frame
    sleep.note(make_result(Look.NONE, 2.5))  # inference is behind
    assert not sleep.is_asleep(5.5)
    sleep.note(make_result(Look.MOTION, 4))
    sleep.note(make_result(Look.NONE, 4.5))
    assert not sleep.is_asleep(7.5)
    sleep.note(make_result(Look.NONE, 6))
    assert sleep.is_asleep(8)
    sleep.wake()  # another connection, whose clock may be another
    sleep.note(make_result(Look.NONE, 1))
    assert sleep.is_asleep(3)
