"""The slots: newest frame only, in turn, nobody starves."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.service.frame_queue import MAX_READ_AHEAD, MAX_REGIONS, FrameQueue, compute_read_ahead
from edge.types import Frame, RgbPicture

PICTURE = RgbPicture(np.zeros((2, 2, 3), np.uint8))


def frame(camera: str, seq: int) -> Frame:
    return Frame(camera, 1, seq, 0.0, 0.0, PICTURE)


def test_put_replaces_the_unread_frame_and_says_so():
    slots = FrameQueue()
    assert not slots.put(frame("a", 1))
    assert slots.put(frame("a", 2))
    assert [f.seq for f in slots.take(1, 0, 0)] == [2]
    assert not slots.put(frame("a", 3))


def test_a_replaced_frame_keeps_its_turn():
    slots = FrameQueue()
    slots.put(frame("slow", 1))
    for seq in range(5):
        slots.put(frame("fast", seq))
    slots.put(frame("slow", 2))
    assert [f.camera for f in slots.take(1, 0, 0)] == ["slow"]


def test_five_busy_cameras_and_batch_one_are_served_in_equal_shares():
    slots = FrameQueue()
    served = dict.fromkeys("abcde", 0)
    for turn in range(100):
        for camera in served:
            slots.put(frame(camera, turn))
        taken = slots.take(1, 0, 0)
        served[taken[0].camera] += 1
        slots.done(taken)
    assert set(served.values()) == {20}


def test_take_returns_nothing_after_its_timeout():
    assert FrameQueue().take(4, 1, 0.01) == []


def test_take_waits_with_patience_for_a_second_camera():
    slots = FrameQueue()
    slots.put(frame("a", 1))
    threading.Timer(0.05, slots.put, [frame("b", 1)]).start()
    assert {f.camera for f in slots.take(2, 5, 1)} == {"a", "b"}


def test_take_does_not_wait_when_the_batch_is_full():
    slots = FrameQueue()
    slots.put(frame("a", 1))
    slots.put(frame("b", 1))
    started_s = time.monotonic()
    assert len(slots.take(2, 30, 30)) == 2
    assert time.monotonic() - started_s < 10


def test_close_wakes_a_waiting_take_and_refuses_frames():
    slots = FrameQueue()
    threading.Timer(0.05, slots.close).start()
    assert slots.take(1, 0, 30) == []
    slots.put(frame("a", 1))
    assert slots.take(1, 0, 0) == []


def test_put_when_free_loses_no_frame():
    slots, stop, seen = FrameQueue(), threading.Event(), []

    def produce() -> None:
        for seq in range(50):
            slots.put_when_free(frame("file", seq), stop)

    producer = threading.Thread(target=produce)
    producer.start()
    while len(seen) < 50:
        taken = slots.take(1, 0, 1)
        seen += [f.seq for f in taken]
        slots.done(taken)
    producer.join()
    assert seen == list(range(50))


def test_frames_of_files_wait_and_are_taken_together_turn_by_turn():
    slots, stop = FrameQueue(), threading.Event()
    for seq in range(MAX_READ_AHEAD):
        slots.put_when_free(frame("a", seq), stop)
    for seq in range(2):
        slots.put_when_free(frame("b", seq), stop)
    taken = [(f.camera, f.seq) for f in slots.take(2, 0, 0)]
    assert taken[:4] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert taken[4:] == [("a", seq) for seq in range(2, MAX_READ_AHEAD)]


def test_beside_a_live_camera_one_frame_of_a_file_waits():
    slots, stop = FrameQueue(), threading.Event()
    slots.put(frame("live", 0))
    slots.put_when_free(frame("file", 0), stop)
    threading.Timer(0.2, stop.set).start()
    slots.put_when_free(frame("file", 1), stop)  # until it is stopped
    assert [f.seq for f in slots.take(2, 0, 0)] == [0, 0]


def test_a_camera_that_was_forgotten_leaves_its_share_to_the_others():
    slots, gone, stop = FrameQueue(), threading.Event(), threading.Event()
    gone.set()
    slots.put_when_free(frame("gone", 0), gone)
    large = RgbPicture(np.zeros((2160, 3840, 3), np.uint8))
    assert compute_read_ahead(large.size_wh, 1) == 4
    threading.Timer(1, stop.set).start()
    for seq in range(4):
        slots.put_when_free(Frame("file", 1, seq, 0.0, 0.0, large), stop)
    assert len(slots.take(1, 0, 0)) == 4


def test_frames_that_are_too_many_for_a_batch_wait_behind_the_other_cameras():
    slots, stop = FrameQueue(), threading.Event()
    for seq in range(5):
        slots.put_when_free(frame("file", seq), stop)
    slots.put(frame("live", 0))
    seen = []
    while taken := slots.take(2, 0, 0, max_frames=2):
        seen.append([(f.camera, f.seq) for f in taken])
        slots.done(taken)
    assert seen == [
        [("file", 0), ("file", 1)],
        [("live", 0), ("file", 2)],
        [("file", 3), ("file", 4)],
    ]


@pytest.mark.parametrize(
    ("size_wh", "files", "frames"),
    [
        ((640, 360), 4, 8),
        ((1920, 1080), 1, 8),
        ((1920, 1080), 4, 4),  # all files share the memory
        ((7680, 4320), 2, 1),
    ],
)
def test_fewer_large_frames_of_many_files_wait(size_wh, files, frames):
    assert compute_read_ahead(size_wh, files) == frames


def test_a_camera_is_done_when_its_last_frame_was_looked_at():
    slots = FrameQueue()
    slots.put_when_free(frame("file", 0), threading.Event())
    assert not slots.is_done("file", 0)
    taken = slots.take(1, 0, 0)
    assert not slots.is_done("file", 0)
    threading.Timer(0.05, slots.done, [taken]).start()
    assert slots.is_done("file", 30)


def test_put_when_free_gives_up_when_stopped():
    slots, stop = FrameQueue(), threading.Event()
    slots.put(frame("file", 0))
    stop.set()
    slots.put_when_free(frame("file", 1), stop)
    assert [f.seq for f in slots.take(1, 0, 0)] == [0]


def test_a_camera_whose_frame_is_looked_at_waits_until_that_is_done():
    slots = FrameQueue()
    slots.put(frame("a", 1))
    looked_at = slots.take(2, 0, 0)
    slots.put(frame("a", 2))
    slots.put(frame("b", 1))
    assert [f.camera for f in slots.take(2, 0, 0)] == ["b"]
    assert slots.take(2, 0, 0.01) == []
    slots.done(looked_at)
    assert [f.seq for f in slots.take(2, 0, 0)] == [2]


def test_done_wakes_who_waits_for_that_camera():
    slots = FrameQueue()
    slots.put(frame("a", 1))
    looked_at = slots.take(1, 0, 0)
    slots.put(frame("a", 2))
    threading.Timer(0.05, slots.done, [looked_at]).start()
    assert [f.seq for f in slots.take(1, 0, 30)] == [2]


DONE = 0
actions = st.lists(st.one_of(st.sampled_from("abcd"), st.integers(DONE, 4)), max_size=60)


@given(actions)
def test_frames_are_never_stale_never_twice_in_order_and_nobody_is_overtaken(script):
    slots, newest, taken_seq = FrameQueue(), {}, {}
    arrival: list[str] = []
    looked_at: list[list[Frame]] = []
    for seq, action in enumerate(script):
        if isinstance(action, str):
            slots.put(frame(action, seq))
            newest[action] = seq
            if action not in arrival:
                arrival.append(action)
            continue
        if action == DONE:
            if looked_at:
                slots.done(looked_at.pop(0))
            continue
        busy = {f.camera for taken in looked_at for f in taken}
        taken = slots.take(action, 0, 0)
        free = [camera for camera in arrival if camera not in busy]
        assert [f.camera for f in taken] == free[:action]  # in order of turn
        looked_at.append(taken)
        for f in taken:
            arrival.remove(f.camera)
            assert f.seq == newest[f.camera]  # never stale
            assert taken_seq.get(f.camera, -1) < f.seq  # never twice, never out of order
            taken_seq[f.camera] = f.seq


@pytest.mark.parametrize(
    ("waiting", "newer", "taken"),
    [(True, False, True), (False, True, True), (False, False, False), (True, None, None)],
)
def test_what_moved_in_a_replaced_frame_is_not_forgotten(waiting, newer, taken):
    slots = FrameQueue()
    slots.put(replace(frame("a", 1), moving=waiting))
    slots.put(replace(frame("a", 2), moving=newer))
    (given,) = slots.take(1, 0, 0)
    assert (given.seq, given.moving) == (2, taken)


def test_a_camera_that_rests_is_not_silent_until_its_next_frame():
    now_s = [0.0]
    queue = FrameQueue(clock=lambda: now_s[0])
    queue.put(frame("door", 1))
    taken = queue.take(1, 0, 1)
    queue.done(taken)
    queue.rest("door")
    now_s[0] = 30.0
    assert queue.claim_silent(1.0) == []
    queue.put(frame("door", 2))
    queue.done(queue.take(1, 0, 1))
    now_s[0] = 32.0
    assert queue.claim_silent(1.0) == [("door", 2.0)]


def test_a_camera_that_rests_and_fails_is_silent_from_then_on():
    now_s = [0.0]
    queue = FrameQueue(clock=lambda: now_s[0])
    queue.put(frame("door", 1))
    queue.done(queue.take(1, 0, 1))
    queue.rest("door")
    now_s[0] = 30.0
    queue.lose("door")
    now_s[0] = 33.0
    assert queue.claim_silent(1.0) == [("door", 3.0)]


def test_where_it_moved_in_a_replaced_frame_is_not_forgotten_either():
    slots = FrameQueue()
    for seq in range(200):  # nobody takes them
        slots.put(replace(frame("a", seq), regions=np.float32([[seq, 0, seq + 1, 1]])))
    (given,) = slots.take(1, 0, 0)
    assert given.regions[:, 0].tolist() == [199 - n for n in range(MAX_REGIONS)]
    slots.done([given])
    slots.put(replace(frame("a", 200), regions=np.float32([[1, 2, 3, 4]])))
    slots.put(replace(frame("a", 0), epoch=2, regions=np.float32([[5, 6, 7, 8]])))
    assert slots.take(1, 0, 0)[0].regions.tolist() == [[5, 6, 7, 8]]
